"""Values of a log-on: codes, machine id, log-on id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.steam.auth import ALPHABET, code_at, until_next_step
from actors.steam.port import AuthState
from actors.steam.session import _log_on_request, log_on_id, machine_id

SECRET = base64.b64encode(b"sandbox-demo-secret").decode()


def independent_code(secret: bytes, now: int) -> str:
    """A second implementation of RFC 6238 with Steam's alphabet, with the standard library."""
    digest = hmac.new(secret, struct.pack(">Q", now // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    (value,) = struct.unpack(">I", digest[start : start + 4])
    value &= 0x7FFFFFFF
    return "".join(ALPHABET[value // 26**place % 26] for place in range(5))


def test_codes_of_known_moments() -> None:
    """Computed once with the standard library."""
    assert code_at(SECRET, 0) == "3THBW"
    assert code_at(SECRET, 1_700_000_000.9) == "DJW46"


@given(st.binary(min_size=1, max_size=64), st.integers(0, 2**40))
def test_codes_agree_with_the_standard_library(secret: bytes, now: int) -> None:
    assert code_at(base64.b64encode(secret).decode(), now) == independent_code(secret, now)


def test_a_code_lasts_for_its_half_minute() -> None:
    assert code_at(SECRET, 60) == code_at(SECRET, 89.999)
    assert code_at(SECRET, 60) != code_at(SECRET, 90)
    assert until_next_step(60.0) == 30.0
    assert until_next_step(89.5) == 0.5


@pytest.mark.parametrize("secret", ["not base64!", "YWJj=ZGVm", "äöü"])
def test_a_secret_that_is_not_base64_is_an_error_that_does_not_tell_it(secret: str) -> None:
    with pytest.raises(ValueError, match=r"base64|ASCII") as caught:
        code_at(secret, 0)
    assert secret not in str(caught.value)


def test_a_machine_id_is_three_stable_hashes_in_155_bytes() -> None:
    made = machine_id("abaddon")
    assert len(made) == 155
    assert made.startswith(b"\0MessageObject\0\x01BB3\0")
    assert made.endswith(b"\0\x08\x08")
    assert made == machine_id("abaddon")
    assert made != machine_id("bane")


def test_a_log_on_id_is_a_constant_of_the_account() -> None:
    """Pinned: another number would leave an old session beside the new one."""
    assert log_on_id("abaddon") == 2_394_541_569
    assert log_on_id("bane") != log_on_id("abaddon")


@given(st.text(max_size=40))
def test_a_log_on_id_is_never_zero_and_fits(account: str) -> None:
    assert 0 < log_on_id(account) < 2**32


def test_a_log_on_carries_the_refresh_token_and_no_password() -> None:
    request = _log_on_request("abaddon", AuthState(76561197960287930, "a.refresh.token"))
    assert request.access_token == "a.refresh.token"
    assert not request.HasField("password")
    assert request.client_os_type == 2**32 - 203
    assert request.obfuscated_private_ip.v4 == log_on_id("abaddon")
    assert request.deprecated_obfustucated_private_ip == log_on_id("abaddon")
    assert (request.chat_mode, request.supports_rate_limit_response) == (2, True)
