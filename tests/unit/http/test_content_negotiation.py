"""Content negotiation by Accept headers."""

from __future__ import annotations

import pytest

from actors.http.content import accepts_gzip, best_media_type

JSON, PROTOBUF = "application/json", "application/x-protobuf"


@pytest.mark.parametrize(
    ("header", "best"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json, */*;q=0.5", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("application/*", JSON),
        ("application/x-protobuf", PROTOBUF),
        ("Application/X-Protobuf", PROTOBUF),
        ("application/x-protobuf; q=1.0 ", PROTOBUF),
        ("application/x-protobuf, application/json", JSON),  # of equals, the first offer
        ("application/x-protobuf, application/json;q=0.9", PROTOBUF),
        ("application/x-protobuf, */*;q=0.1", PROTOBUF),
        ("application/x-protobuf;q=0.1, application/json;q=0", PROTOBUF),
        ("application/json;q=0, */*", PROTOBUF),
        ("application/json;charset=utf-8", JSON),
        ("application/x-protobuf;q=0, application/*;q=0.2, */*;q=0.9", JSON),
        ("text/html", None),
        ("text/*", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("application/json;q=nonsense", JSON),
        ("application/json;q=nan", None),
        (",;,;q=1,,", None),
    ],
)
def test_the_best_form_is_the_one_with_the_highest_weight(header: str, best: str | None) -> None:
    assert best_media_type(header, (JSON, PROTOBUF)) == best


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("deflate", False),
        ("x-gzip2", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("*", False),  # any coding; identity always works
    ],
)
def test_gzip_is_for_clients_that_list_it(header: str, *, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
