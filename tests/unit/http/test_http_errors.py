"""The error table: every RequestError has a status and a word."""

from __future__ import annotations

import orjson
import pytest

from actors import errors
from actors.http.errors import TABLE, error_response
from actors.http.openapi.inputs import parse_match_id


def request_errors() -> set[type[errors.RequestError]]:
    return set(errors.RequestError.__subclasses__())


def test_every_request_error_is_in_the_table() -> None:
    assert set(TABLE) == request_errors()


@pytest.mark.parametrize("kind", sorted(request_errors(), key=str))
def test_an_error_response_has_word_sentence_and_retry_after(
    kind: type[errors.RequestError],
) -> None:
    response = error_response(kind("a sentence", 1.2))
    assert response.status == TABLE[kind][0]
    assert response.headers["Retry-After"] == "2"
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body) == {
        "error": TABLE[kind][1],
        "message": "a sentence",
        "retry_after": 2,
    }


def test_an_error_without_a_time_to_retry_says_null_and_sends_no_header() -> None:
    response = error_response(errors.MatchNotFound("no"))
    assert "Retry-After" not in response.headers
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body)["retry_after"] is None


@pytest.mark.parametrize("text", ["1", "7490235544", "1023999999999", "0001"])
def test_a_match_id_in_range_is_taken(text: str) -> None:
    assert parse_match_id(text) == int(text)


@pytest.mark.parametrize("text", [None, ""])
def test_a_missing_match_id_is_asked_for(text: str | None) -> None:
    with pytest.raises(errors.MatchIdRequired):
        parse_match_id(text)


@pytest.mark.parametrize(
    "text", ["0", "-1", "1024000000000", "abc", "1.0", "1e3", " 1", "१२३", "0x10", "9" * 5000]
)
def test_anything_else_is_invalid(text: str) -> None:
    with pytest.raises(errors.InvalidMatchId):
        parse_match_id(text)
