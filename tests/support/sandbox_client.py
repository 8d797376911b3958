"""A small Steam client for the sandbox's tests, built on the `steam` package's messages.

It is a second implementation of the protocol: a message that it cannot parse is an error of the sandbox.
One connection, asyncio, no reconnects.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from dota2.protobufs import dota_gcmessages_client_pb2 as dota
from google.protobuf.message import DecodeError, Message
from steam.protobufs import steammessages_auth_pb2 as auth_pb
from steam.protobufs import steammessages_base_pb2 as base_pb
from steam.protobufs import steammessages_clientserver_2_pb2 as server2_pb
from steam.protobufs import steammessages_clientserver_login_pb2 as login_pb
from steam.protobufs import steammessages_clientserver_pb2 as server_pb

PROTO = 0x80000000
MessageT = TypeVar("MessageT", bound=Message)


@dataclass
class Received:
    """One message from the CM."""

    emsg: int
    header: Any  # CMsgProtoBufHeader, or None for the struct form
    body: bytes


class ServiceError(Exception):
    """A service method failed."""

    def __init__(self, eresult: int) -> None:
        super().__init__(eresult)
        self.eresult = eresult


class Closed(Exception):
    """The connection has ended: closed by the CM, or after an invalid frame."""


class Corrupted(Exception):
    """A message that cannot be decoded."""


class SandboxClient:
    """One connection; open it with `sandbox_connection.Connecting`."""

    def __init__(self, send: Callable[[bytes], Any], close: Callable[[], Any]) -> None:
        self._send_raw = send
        self._close = close
        self.inbox: list[Received] = []
        self.log: list[int] = []  # every EMsg in order, including those inside Multis
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.steamid = 0
        self.session_id = 0
        self.welcome = b""
        self._jobs = itertools.count(1)
        self.raw_writer: asyncio.StreamWriter | None = None
        self.raw_socket: aiohttp.ClientWebSocketResponse | None = None

    # --- messages -----------------------------------------------------------------------------
    async def send(self, emsg: int, body: Message | bytes = b"", **header: Any) -> None:
        head = base_pb.CMsgProtoBufHeader(
            steamid=header.pop("steamid", self.steamid),
            client_sessionid=header.pop("client_sessionid", self.session_id),
            **header,
        ).SerializeToString()
        data = body if isinstance(body, bytes) else body.SerializeToString()
        await self._send_raw(struct.pack("<II", emsg | PROTO, len(head)) + head + data)

    async def send_bytes(self, data: bytes) -> None:
        await self._send_raw(data)

    async def receive(self, within_s: float = 5.0) -> Received:
        """Return the next message, in order, including those inside Multis; raises Closed at the end."""
        while not self.inbox:
            async with asyncio.timeout(within_s):
                piece = await self.pieces.get()
            if piece is None:
                self.pieces.put_nowait(None)
                raise Closed
            try:
                self._take(piece)
            except (
                DecodeError,
                OSError,
                EOFError,
                zlib.error,
                struct.error,
                AssertionError,
            ) as error:
                raise Corrupted from error
        return self.inbox.pop(0)

    def _take(self, data: bytes) -> None:
        number, size = struct.unpack_from("<II", data)
        if not number & PROTO:
            self.log.append(number)
            self.inbox.append(Received(number, None, data[36:]))
            return
        assert 8 + size <= len(data)
        header = base_pb.CMsgProtoBufHeader.FromString(data[8 : 8 + size])
        body = data[8 + size :]
        if number & ~PROTO != 1:
            self.log.append(number & ~PROTO)
            self.inbox.append(Received(number & ~PROTO, header, body))
            return
        multi = base_pb.CMsgMulti.FromString(body)
        inner = multi.message_body
        if multi.size_unzipped:
            inner = gzip.decompress(inner)
            assert len(inner) == multi.size_unzipped
        at = 0
        while at < len(inner):
            (length,) = struct.unpack_from("<I", inner, at)
            assert at + 4 + length <= len(inner)
            self._take(inner[at + 4 : at + 4 + length])
            at += 4 + length

    async def wait_for(self, emsg: int, within_s: float = 5.0) -> Received:
        """Return the next message of this number, skipping others."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.receive(within_s)
                if found.emsg == emsg:
                    return found

    async def wait_closed(self, within_s: float = 5.0) -> list[Received]:
        """Return the remaining messages until the connection ends."""
        rest = []
        async with asyncio.timeout(within_s):
            while True:
                try:
                    rest.append(await self.receive(within_s))
                except Closed:
                    return rest

    async def close(self) -> None:
        await self._close()

    # --- authentication -----------------------------------------------------------------------
    async def hello(self, version: int = 65580) -> None:
        await self.send(9805, login_pb.CMsgClientHello(protocol_version=version))

    async def service(
        self, method: str, request: Message | bytes, answer: type[MessageT], emsg: int = 9804
    ) -> MessageT:
        job = next(self._jobs)
        name = f"Authentication.{method}#1"
        ids = {"steamid": 0, "client_sessionid": 0} if emsg == 9804 else {}
        await self.send(emsg, request, jobid_source=job, target_job_name=name, **ids)
        got = await self.wait_for(147)
        assert got.header.jobid_target == job
        if got.header.eresult != 1:
            raise ServiceError(got.header.eresult)
        return answer.FromString(got.body)

    async def begin(self, name: str, password: str, guard_data: str = "", platform: int = 1) -> Any:
        key = await self.service(
            "GetPasswordRSAPublicKey",
            auth_pb.CAuthentication_GetPasswordRSAPublicKey_Request(account_name=name),
            auth_pb.CAuthentication_GetPasswordRSAPublicKey_Response,
        )
        numbers = rsa.RSAPublicNumbers(int(key.publickey_exp, 16), int(key.publickey_mod, 16))
        secret = numbers.public_key().encrypt(password.encode(), padding.PKCS1v15())
        return await self.service(
            "BeginAuthSessionViaCredentials",
            auth_pb.CAuthentication_BeginAuthSessionViaCredentials_Request(
                account_name=name,
                encrypted_password=base64.b64encode(secret).decode(),
                encryption_timestamp=key.timestamp,
                persistence=1,
                website_id="Client",
                guard_data=guard_data,
                device_details={
                    "device_friendly_name": "test",
                    "platform_type": platform,
                },
            ),
            auth_pb.CAuthentication_BeginAuthSessionViaCredentials_Response,
        )

    async def submit(self, begun: Any, code: str, code_type: int) -> None:
        await self.service(
            "UpdateAuthSessionWithSteamGuardCode",
            auth_pb.CAuthentication_UpdateAuthSessionWithSteamGuardCode_Request(
                client_id=begun.client_id, steamid=begun.steamid, code=code, code_type=code_type
            ),
            auth_pb.CAuthentication_UpdateAuthSessionWithSteamGuardCode_Response,
        )

    async def poll(self, begun: Any, client_id: int | None = None) -> Any:
        return await self.service(
            "PollAuthSessionStatus",
            auth_pb.CAuthentication_PollAuthSessionStatus_Request(
                client_id=client_id or begun.client_id, request_id=begun.request_id
            ),
            auth_pb.CAuthentication_PollAuthSessionStatus_Response,
        )

    async def token(self, name: str, password: str) -> str:
        """Run the credential flow of an account without guard."""
        begun = await self.begin(name, password)
        return str((await self.poll(begun)).refresh_token)

    # --- logon --------------------------------------------------------------------------------
    async def log_on(self, token: str, steamid: int, logon_id: int = 1242, **fields: Any) -> Any:
        """Send ClientLogon and return the CMsgClientLogonResponse, or None for the struct form."""
        request = login_pb.CMsgClientLogon(protocol_version=65580, access_token=token, **fields)
        request.obfuscated_private_ip.v4 = logon_id
        await self.send(5514, request, steamid=steamid, client_sessionid=0)
        got = await self.wait_for(751)
        if got.header is None:
            return None
        answer = login_pb.CMsgClientLogonResponse.FromString(got.body)
        if answer.eresult == 1:
            self.steamid, self.session_id = got.header.steamid, got.header.client_sessionid
        return answer

    async def play(self, *apps: int) -> None:
        request = server_pb.CMsgClientGamesPlayed()
        for app in apps:
            request.games_played.add(game_id=app)
        await self.send(5410, request)

    async def playing_state(self) -> Any:
        got = await self.wait_for(9600)
        return server2_pb.CMsgClientPlayingSessionState.FromString(got.body)

    # --- GC -----------------------------------------------------------------------------------
    async def send_gc(
        self,
        number: int,
        body: bytes = b"",
        job: int = 0,
        *,
        appid: int = 570,
        routing_appid: int = 570,
    ) -> None:
        header = b"" if not job else b"\x51" + job.to_bytes(8, "little")  # job_id_source
        payload = struct.pack("<Ii", number | PROTO, len(header)) + header + body
        wrapped = server2_pb.CMsgGCClient(appid=appid, msgtype=number | PROTO, payload=payload)
        await self.send(5452, wrapped, routing_appid=routing_appid)

    async def receive_gc(self, number: int, within_s: float = 5.0) -> tuple[int, bytes]:
        """Return GC job id and body of the next GC message of this number."""
        while True:
            got = await self.wait_for(5453, within_s)
            wrapped = server2_pb.CMsgGCClient.FromString(got.body)
            if wrapped.msgtype & ~PROTO != number:
                continue
            _, size = struct.unpack_from("<Ii", wrapped.payload)
            header = wrapped.payload[8 : 8 + size]
            job = int.from_bytes(header[1:9], "little") if header[:1] == b"\x59" else 0
            return job, wrapped.payload[8 + size :]

    async def launch(self) -> None:
        """Play Dota 2 and wait for the GC's welcome."""
        await self.play(570)
        await self.send_gc(4006)
        _, self.welcome = await self.receive_gc(4004)

    async def ask_match(self, match_id: int, job: int = 7) -> None:
        await self.send_gc(
            7095, dota.CMsgGCMatchDetailsRequest(match_id=match_id).SerializeToString(), job
        )

    async def match(self, match_id: int, job: int = 7) -> Any:
        await self.ask_match(match_id, job)
        got, body = await self.receive_gc(7096)
        assert got == job
        return dota.CMsgGCMatchDetailsResponse.FromString(body)


def steamid_of(token: str) -> int:
    """Return the SteamID in a refresh token."""
    return int(claims_of(token)["sub"])


def claims_of(token: str) -> Mapping[str, Any]:
    """Return a token's claims, unverified."""
    import json  # noqa: PLC0415 - imported here because only this function needs it

    part = token.split(".")[1]
    claims: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


async def logged_on(client: SandboxClient, account: Mapping[str, Any], **logon: Any) -> str:
    """Log a client on, from Hello; return its refresh token."""
    await client.hello()
    token = await client.token(account["name"], account["password"])
    answer = await client.log_on(token, steamid_of(token), **logon)
    assert answer.eresult == 1
    return token
