"""API keys: parsing of the file, and lookup."""

from __future__ import annotations

import pytest

from actors.http.auth.api_keys import (
    ApiKey,
    BadKeys,
    KeyRing,
    digest_of,
    new_key,
    parse_keys,
    without_key,
)
from actors.http.auth.clients import Client, Rate

HEX = digest_of("a key").hex()
OTHER = digest_of("another key").hex()


def test_a_file_of_keys_is_read() -> None:
    text = f"""
        # clients

        alice sha256:{HEX} per-minute=60 burst=10 priority=-3 refresh  # the web site
        bob@example.org sha256:{OTHER}
    """
    assert parse_keys(text) == (
        ApiKey(Client("alice", -3, may_refresh=True), digest_of("a key"), Rate(60, 10)),
        ApiKey(Client("bob@example.org"), digest_of("another key")),
    )
    assert parse_keys("# no keys\n") == ()


@pytest.mark.parametrize(
    "key",
    [
        ApiKey(Client("a"), digest_of("x")),
        ApiKey(Client("a.b-c_d@e", 100), digest_of("x"), Rate(0.5, 1)),
        ApiKey(Client("a", may_refresh=True), digest_of("x"), Rate(1_000_000, 1_000_000)),
    ],
)
def test_a_key_reads_as_it_is_written(key: ApiKey) -> None:
    assert parse_keys(key.line) == (key,)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("alice", "alice needs sha256:"),
        (f"alice {HEX}", "alice needs sha256:"),
        (f"alice sha256:{HEX[1:]}", "alice needs sha256:"),
        (f"alice sha256:{HEX.upper()}", "alice needs sha256:"),
        (f"-alice sha256:{HEX}", "a name is 1 to 64"),
        (f"älice sha256:{HEX}", "a name is 1 to 64"),
        (f"(admin) sha256:{HEX}", "a name is 1 to 64"),
        (f"{'a' * 65} sha256:{HEX}", "a name is 1 to 64"),
        (f"alice sha256:{HEX} per-minute=0", "per-minute is a number from 0.001"),
        (f"alice sha256:{HEX} per-minute=nan", "per-minute is a number from 0.001"),
        (f"alice sha256:{HEX} per-minute=x", "per-minute is a number from 0.001"),
        (f"alice sha256:{HEX} burst=3", "a burst but no per-minute"),
        (f"alice sha256:{HEX} per-minute=3 burst=1.5", "burst is a whole number from 1"),
        (f"alice sha256:{HEX} priority=101", "priority is a whole number from -100 to 100"),
        (f"alice sha256:{HEX} refresh=no", "refresh takes no value"),
        (f"alice sha256:{HEX} admin", '"admin" is unknown'),
        (f"alice sha256:{HEX} refresh refresh", '"refresh" is unknown or twice'),
    ],
)
def test_a_bad_line_is_named_and_no_hash_repeated(line: str, problem: str) -> None:
    with pytest.raises(BadKeys, match=r"^line 2: ") as refused:
        parse_keys(f"# keys\n{line}\n")
    assert problem in str(refused.value)
    assert HEX not in str(refused.value)
    assert HEX.upper() not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"a sha256:{HEX}\na sha256:{OTHER}", "2 keys called a"),
        (f"a sha256:{HEX}\nb sha256:{HEX}", "2 keys with the hash sha256:"),
    ],
)
def test_no_two_keys_share_a_name_or_a_hash(text: str, problem: str) -> None:
    with pytest.raises(BadKeys, match=problem) as refused:
        parse_keys(text)
    assert HEX not in str(refused.value)


def test_a_ring_finds_the_key_that_is_shown_and_no_other() -> None:
    shown = new_key()
    ring = KeyRing(parse_keys(f"a sha256:{digest_of(shown).hex()}\nb sha256:{HEX}"))
    found = ring.find(shown)
    assert found is not None
    assert found.client.name == "a"
    for wrong in ("", shown[:-1], shown + " ", shown.upper(), digest_of(shown).hex(), "\udcff"):
        assert ring.find(wrong) is None
    ring.replace(())
    assert ring.find(shown) is None


def test_the_whole_hash_has_to_match() -> None:
    """Not only the part by which a key is looked up."""
    digest = digest_of("a key")
    forged = digest[:8] + bytes(24)
    assert KeyRing([ApiKey(Client("a"), forged)]).find("a key") is None


def test_a_key_has_256_random_bits_and_is_told_from_other_texts() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("botapi_") and len(key) == 7 + 43 for key in keys)


def test_a_hash_is_in_no_repr() -> None:
    (key,) = parse_keys(f"alice sha256:{HEX}")
    assert HEX not in repr(key)
    assert repr(key.digest) not in repr(key)


def test_a_key_is_taken_out_and_all_else_stays() -> None:
    text = f"# keys\na sha256:{HEX}\n\n# of b\nb sha256:{OTHER}  # a\nab sha256:{HEX}"
    assert without_key(text, "a") == f"# keys\n\n# of b\nb sha256:{OTHER}  # a\nab sha256:{HEX}"
    assert without_key(text, "c") == text
