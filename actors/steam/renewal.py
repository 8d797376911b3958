"""A newer refresh token in place of an old one, over the logged-on session that the old one opened.

Since April 2025 this works only there, and Steam decides: near the end of a token's 200 days it hands out
another one, and the old one is dead from that moment; else there is only an access token, which is of no
use here (node-steam-user's `renewRefreshTokens`).
"""

from __future__ import annotations

from typing import Final

from steam.protobufs.steammessages_auth_pb2 import (
    CAuthentication_AccessToken_GenerateForApp_Request,
)

from actors.errors import LogOnRefused, SteamUnreachable
from actors.steam.port import AuthState
from actors.steam.service import Services
from actors.steam.wire import ParseError, fields

METHOD: Final = "Authentication.GenerateAccessTokenForApp#1"
OK: Final = 1
# Two fields are newer than the library's classes: `renewal_type` (3) of the request, here as it travels
# with the value "allow", and `refresh_token` (2) of the answer.
RENEWAL_ALLOWED: Final = b"\x18\x01"
REFRESH_TOKEN: Final = 2


def renew(services: Services, auth: AuthState) -> AuthState | None:
    """Return the newer state, or None when Steam keeps the one we have; the caller sets the time limit.

    Raises:
        LogOnRefused: with phase ``"renewal"``.
        SteamUnreachable: the connection died, or the server sent garbage.
    """
    request = CAuthentication_AccessToken_GenerateForApp_Request(
        refresh_token=auth.refresh_token, steamid=auth.steam_id
    )
    request.MergeFromString(RENEWAL_ALLOWED)
    eresult, body = services.call(METHOD, request)
    if eresult != OK:
        raise LogOnRefused("renewal", eresult)
    try:
        token = fields(body).get(REFRESH_TOKEN, b"")
        text = token.decode("ascii") if isinstance(token, bytes) else ""
    except (ParseError, UnicodeDecodeError) as error:
        raise SteamUnreachable("renewal", "the server sent garbage") from error
    return AuthState(auth.steam_id, text, auth.guard_data) if text else None
