"""Connections of a `SandboxClient`: WebSocket, and TCP with its handshake."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import zlib
from collections.abc import Callable

import aiohttp
from Cryptodome.Cipher import PKCS1_OAEP
from Cryptodome.PublicKey import RSA
from steam.core import crypto

from bench.sandbox_process import SandboxProcess
from support.sandbox_client import SandboxClient

MAX_MESSAGE = 16 * 1024 * 1024


class Connecting:
    """`async with Connecting(sandbox, transport) as client`."""

    def __init__(
        self, sandbox: SandboxProcess, transport: str, endpoint: str | None = None
    ) -> None:
        self._sandbox = sandbox
        self._transport = transport
        self._endpoint = endpoint or sandbox.endpoints[transport][0]
        self._reader: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None
        self._client: SandboxClient | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> SandboxClient:
        try:
            if self._transport == "websockets":
                self._client = await self._websocket()
            else:
                self._client = await self._tcp()
        except BaseException:
            await self.__aexit__()
            raise
        return self._client

    async def __aexit__(self, *exc_info: object) -> None:
        if self._client is not None:
            await self._client.close()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._http is not None:
            await self._http.close()

    async def _websocket(self) -> SandboxClient:
        tls = ssl.create_default_context(cafile=self._sandbox.ca_file)
        self._http = aiohttp.ClientSession()
        url = f"wss://{self._endpoint}/cmsocket/"
        socket = await self._http.ws_connect(url, ssl=tls, max_msg_size=MAX_MESSAGE)
        connection = socket._response.connection
        transport = connection.transport if connection is not None else None

        async def close() -> None:
            await socket.close()
            if transport is not None:
                transport.abort()  # TLS would wait for a close_notify that half-open CMs never send
                await asyncio.sleep(0)

        client = SandboxClient(socket.send_bytes, close)
        client.raw_socket = socket

        async def read() -> None:
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                client.pieces.put_nowait(message.data)
            client.pieces.put_nowait(None)

        self._reader = asyncio.create_task(read())
        return client

    async def _tcp(self) -> SandboxClient:
        host, port = self._endpoint.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self._writer = writer
        key = await handshake(reader, writer, self._sandbox)

        async def send(data: bytes) -> None:
            sealed = crypto.symmetric_encrypt_HMAC(data, key, key[:16])
            writer.write(struct.pack("<I", len(sealed)) + b"VT01" + sealed)
            await writer.drain()

        async def close() -> None:
            writer.close()

        client = SandboxClient(send, close)
        client.raw_writer = writer

        async def read() -> None:
            try:
                while True:
                    sealed = await read_frame(reader)
                    plain = crypto.symmetric_decrypt_HMAC(sealed, key, key[:16])
                    client.pieces.put_nowait(bytes(plain))
            except (asyncio.IncompleteReadError, ConnectionError, AssertionError, RuntimeError):
                client.pieces.put_nowait(None)

        self._reader = asyncio.create_task(read())
        return client


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Return the payload of one VT01 frame."""
    size, magic = struct.unpack("<I4s", await reader.readexactly(8))
    assert magic == b"VT01"
    assert size <= MAX_MESSAGE
    return await reader.readexactly(size)


async def handshake(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    sandbox: SandboxProcess,
    *,
    alter: Callable[[bytes], bytes] = lambda response: response,
) -> bytes:
    """Do the channel encryption handshake and return the session key."""
    request = await read_frame(reader)
    emsg, _, _, protocol, universe = struct.unpack_from("<IqqII", request)
    assert (emsg, protocol, universe, len(request)) == (1303, 1, 1, 44)
    session_key = b"k" * 32
    public = RSA.import_key(sandbox.universe_key_file.read_bytes())
    blob = PKCS1_OAEP.new(public).encrypt(session_key + request[28:])
    head = struct.pack("<IqqII", 1304, -1, -1, 1, 128)
    response = head + blob + struct.pack("<II", zlib.crc32(blob), 0)
    response = alter(response)
    writer.write(struct.pack("<I", len(response)) + b"VT01" + response)
    result = await read_frame(reader)
    assert struct.unpack("<IqqI", result)[0] == 1305
    assert struct.unpack("<IqqI", result)[3] == 1
    return session_key
