"""Steam session: hello, log-on, log-off, token renewal.

Fields and values are what node-steam-user and SteamKit send; EResults are classified in
`actors/bot/eresults.py`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from functools import partial
from typing import Any, Final

import gevent
from steam.protobufs import steammessages_clientserver_login_pb2 as pb
from steam.protobufs.steammessages_auth_pb2 import (
    CAuthentication_AccessToken_GenerateForApp_Request,
)

from actors.errors import LogOnRefused, SteamUnreachable
from actors.steam.connection import Connection
from actors.steam.port import AuthState, LoggedOn
from actors.steam.protocol import emsg
from actors.steam.protocol.envelope import Message, decode
from actors.steam.protocol.wire import ParseError, fields
from actors.steam.steam_time import SteamTime

PROTOCOL_VERSION: Final = 65580
PACKAGE_VERSION: Final = 1771  # SteamKit's
NEW_CHAT: Final = 2
DEFAULT_HEARTBEAT_S: Final = 9
SERVICE_UNAVAILABLE: Final = 20


class Session:
    """Logs one account on and off over one connection.

    Where Steam's answer names no public IP, the egress IP is the last one that it named to a connection
    from the same local address, or else that local address.
    """

    def __init__(
        self, connection: Connection, clock: SteamTime, public_ips: dict[str, str]
    ) -> None:
        """`clock` learns Steam's time; `public_ips`, by local address, is shared by all sessions."""
        self._public_ips = public_ips
        self._connection = connection
        self._clock = clock
        self.is_logging_off = False
        connection.on(emsg.CLIENT_LOG_ON_RESPONSE, partial(connection.resolve, "log_on"))
        connection.on(emsg.CLIENT_LOGGED_OFF, self._on_logged_off)
        connection.on(emsg.CLIENT_SERVER_UNAVAILABLE, self._on_server_unavailable)

    def hello(self) -> None:
        """Send ClientHello, which has no answer; without it Steam refuses the credential flow."""
        hello = pb.CMsgClientHello(protocol_version=PROTOCOL_VERSION)
        self._connection.send(emsg.CLIENT_HELLO, hello)

    def log_on(self, account: str, auth: AuthState, timeout_s: float) -> LoggedOn:
        """Log on and start the heartbeats; see `port.Link`."""
        request = _log_on_request(account, auth)
        self._connection.send(emsg.CLIENT_LOG_ON, request, steamid=auth.steam_id)
        with gevent.Timeout(timeout_s, SteamUnreachable("logon", "no answer in time")):
            message: Message = self._connection.wait("log_on")
        if not message.is_proto:  # the CM could not pass the log-on on (node-steam-user)
            raise SteamUnreachable("logon", "the server has trouble", SERVICE_UNAVAILABLE)
        try:
            answer = decode(pb.CMsgClientLogonResponse, message.body)
        except ParseError as error:
            raise SteamUnreachable("logon", f"the server sent garbage: {error}") from error
        self._clock.learn_from_cm(answer.rtime32_server_time)
        if answer.eresult != emsg.OK:
            raise LogOnRefused("logon", answer.eresult)
        self._connection.steam_id = message.steam_id or answer.client_supplied_steamid
        self._connection.session_id = message.session_id
        heartbeat_s = answer.heartbeat_seconds or answer.legacy_out_of_game_heartbeat_seconds
        heartbeat_s = float(heartbeat_s if heartbeat_s > 0 else DEFAULT_HEARTBEAT_S)
        self._connection.start_pulse(heartbeat_s)
        public_ip, local_ip = _public_ip(answer), self._connection.local_ip
        if public_ip is not None:
            self._public_ips[local_ip] = public_ip
        return LoggedOn(
            self._connection.steam_id,
            public_ip,
            answer.cell_id,
            heartbeat_s,
            self._public_ips.get(local_ip, local_ip),
        )

    def log_off(self, timeout_s: float) -> None:
        """Log off and wait until Steam closes the connection or the time is over."""
        if self._connection.death is not None or self._connection.session_id == 0:
            return
        self.is_logging_off = True
        self._connection.send(emsg.CLIENT_LOG_OFF)
        with gevent.Timeout(timeout_s, exception=False):
            try:
                self._connection.wait("logged_off")
            except SteamUnreachable:
                return  # closed without an answer, which also ends the session

    # -- incoming messages -----------------------------------------------------------------------

    def _on_logged_off(self, message: Message) -> None:
        eresult = _logged_off_result(message)
        self._connection.resolve("logged_off", eresult)
        if not self.is_logging_off:
            reason = f"Steam logged us off with result {eresult}"
            self._connection.die(SteamUnreachable("session", reason, eresult))

    def _on_server_unavailable(self, _message: Message) -> None:
        reason = "a server behind the CM went away"
        self._connection.die(SteamUnreachable("session", reason, SERVICE_UNAVAILABLE))


def log_on_id(account: str) -> int:
    """Return the constant 32-bit number that Steam keys this account's session by.

    A second log-on with the same account, address and number replaces the first session, so that a
    leftover session never blocks the next one (ArchiSteamFarm).
    """
    return int.from_bytes(hashlib.sha256(f"logon-id {account}".encode()).digest()[:4], "big") | 1


def machine_id(account: str) -> bytes:
    """Return a stable machine id: binary KeyValues of three SHA-1 texts (node-steam-user)."""

    def entry(key: str) -> bytes:
        digest = hashlib.sha1(f"{account} {key}".encode(), usedforsecurity=False).hexdigest()
        return b"\x01" + key.encode() + b"\0" + digest.encode() + b"\0"

    return b"\0MessageObject\0" + b"".join(map(entry, ("BB3", "FF2", "3B3"))) + b"\x08\x08"


def _log_on_request(account: str, auth: AuthState) -> Any:
    number = log_on_id(account)
    request = pb.CMsgClientLogon(
        protocol_version=PROTOCOL_VERSION,
        deprecated_obfustucated_private_ip=number,
        client_package_version=PACKAGE_VERSION,
        client_language="english",
        client_os_type=emsg.LINUX & 0xFFFFFFFF,  # two's complement
        should_remember_password=True,
        machine_id=machine_id(account),
        chat_mode=NEW_CHAT,
        account_name=account,
        supports_rate_limit_response=True,
        access_token=auth.refresh_token,  # yes: the refresh token
    )
    request.obfuscated_private_ip.v4 = number
    return request


def _logged_off_result(message: Message) -> int:
    if message.is_proto:
        eresult: int = decode(pb.CMsgClientLoggedOff, message.body).eresult
        return eresult
    return struct.unpack_from("<i", message.body)[0] if len(message.body) >= 4 else 2  # noqa: PLR2004


def _public_ip(answer: Any) -> str | None:
    ip = answer.public_ip
    try:
        if ip.v6:
            return str(ipaddress.ip_address(bytes(ip.v6)))
        return str(ipaddress.ip_address(ip.v4)) if ip.v4 else None
    except ValueError:  # an address of invalid length must not fail the log-on
        return None


METHOD: Final = "Authentication.GenerateAccessTokenForApp#1"
# Two fields are missing in the library's classes: `renewal_type` (3) of the request, here encoded with
# the value "allow", and `refresh_token` (2) of the answer.
RENEWAL_ALLOWED: Final = b"\x18\x01"
REFRESH_TOKEN: Final = 2


def renew(connection: Connection, auth: AuthState, timeout_s: float) -> AuthState | None:
    """Return the newer state, or None while Steam keeps the old token; see `port.Link.renew_token`.

    Since April 2025 Steam renews tokens only over a session, and decides when: near the end of the 200
    days it issues another token, and the old one is invalid from that moment. Before that it issues only
    an access token, which has no use here (node-steam-user's `renewRefreshTokens`).
    """
    request = CAuthentication_AccessToken_GenerateForApp_Request(
        refresh_token=auth.refresh_token, steamid=auth.steam_id
    )
    request.MergeFromString(RENEWAL_ALLOWED)
    with gevent.Timeout(timeout_s, SteamUnreachable("renewal", "no answer in time")):
        eresult, body = connection.call(METHOD, request)
    if eresult != emsg.OK:
        raise LogOnRefused("renewal", eresult)
    try:
        token = fields(body).get(REFRESH_TOKEN, b"")
        text = token.decode("ascii") if isinstance(token, bytes) else ""
    except (ParseError, UnicodeDecodeError) as error:
        raise SteamUnreachable("renewal", "the server sent garbage") from error
    return AuthState(auth.steam_id, text, auth.guard_data) if text else None
