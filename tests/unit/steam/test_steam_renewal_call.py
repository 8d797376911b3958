"""Request for a newer refresh token, byte by byte."""

from __future__ import annotations

import gevent
import pytest
from steam.protobufs.steammessages_auth_pb2 import (
    CAuthentication_AccessToken_GenerateForApp_Request,
)
from support.scripted_transport import PATIENCE_S, connected

from actors.errors import LogOnRefused, SteamUnreachable
from actors.steam.port import AuthState
from actors.steam.protocol import emsg
from actors.steam.session import METHOD, renew

AUTH = AuthState(76561197960265728 + 5, "old", "guard")
ACCESS_TOKEN_ONLY = b"\x0a\x06access"
BOTH_TOKENS = ACCESS_TOKEN_ONLY + b"\x12\x05newer"


def ask(eresult: int, answer: bytes) -> tuple[AuthState | None, bytes]:
    """Return the outcome and the request's bytes."""
    with connected() as (connection, server):
        connection.steam_id, connection.session_id = AUTH.steam_id, 7
        running = gevent.spawn(renew, connection, AUTH, PATIENCE_S)
        (request,) = server.wait_emsg(emsg.SERVICE_METHOD_CALL)
        assert request.header.target_job_name == METHOD
        job = request.header.jobid_source
        server.say(emsg.SERVICE_METHOD_RESPONSE, answer, jobid_target=job, eresult=eresult)
        return running.get(), request.body


def test_the_old_token_is_shown_and_its_renewal_allowed() -> None:
    _, body = ask(1, BOTH_TOKENS)
    request = CAuthentication_AccessToken_GenerateForApp_Request.FromString(body)
    assert (request.refresh_token, request.steamid) == ("old", AUTH.steam_id)
    assert body.endswith(b"\x18\x01")  # renewal_type, which the old class lacks


def test_a_newer_token_keeps_the_guard_data() -> None:
    assert ask(1, BOTH_TOKENS)[0] == AuthState(AUTH.steam_id, "newer", "guard")


@pytest.mark.parametrize("answer", [b"", ACCESS_TOKEN_ONLY, ACCESS_TOKEN_ONLY + b"\x12\x00"])
def test_without_a_newer_token_the_old_one_stays(answer: bytes) -> None:
    assert ask(1, answer)[0] is None


def test_a_refusal_says_what_was_refused() -> None:
    with pytest.raises(LogOnRefused) as refused:
        ask(15, b"")
    assert (refused.value.phase, refused.value.eresult) == ("renewal", 15)


@pytest.mark.parametrize("answer", [b"\x12\xff", b"\x12\x02\xff\xfe"])
def test_garbage_is_trouble_of_the_server(answer: bytes) -> None:
    with pytest.raises(SteamUnreachable, match="garbage"):
        ask(1, answer)
