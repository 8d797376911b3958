"""TCP proxy with faults, between a service and one of its dependencies."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

CHUNK: Final = 65536


class Mode(enum.StrEnum):
    """Fault mode of a proxy; without one, bytes pass."""

    HOLE = "hole"  # connections are accepted, no bytes pass
    REFUSE = "refuse"  # new connections are reset


@dataclass(eq=False)
class _Pair:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter


class FaultProxy:
    """Listens on loopback and forwards to `target`; an async context manager.

    `source`: local address of connections to the target, which gives a service its own egress address.
    """

    def __init__(self, target: tuple[str, int], source: str = "127.0.0.1") -> None:
        self._target = target
        self._source = source
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._modes: list[Mode] = []  # of all active faults
        self.delay_s = 0.0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @contextlib.contextmanager
    def in_mode(self, mode: Mode) -> Iterator[None]:
        """Apply a mode within the block; blocks may overlap.

        Bytes that a hole holds back pass when the last hole ends.
        """
        self._modes.append(mode)
        if mode is Mode.HOLE:
            self._flows.clear()
        try:
            yield
        finally:
            self._modes.remove(mode)
            if Mode.HOLE not in self._modes:
                self._flows.set()

    def set_target(self, target: tuple[str, int]) -> None:
        """Forward new connections to `target`; open ones stay."""
        self._target = target

    def cut(self, *, reset: bool = False) -> None:
        """End all connections, orderly or with RST."""
        for pair in list(self._pairs):
            for side in (pair.client, pair.server):
                _end(side, reset=reset)

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if Mode.REFUSE in self._modes:
            _end(client, reset=True)
            return
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            await self._flows.wait()
            from_server, server = await asyncio.open_connection(
                *self._target, local_addr=(self._source, 0)
            )
            pair = _Pair(client, server)
            self._pairs.add(pair)
            try:
                await self._both_ways(reader, client, from_server, server)
            finally:
                self._pairs.discard(pair)
                _end(server)
        _end(client)

    async def _both_ways(
        self,
        from_client: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._pump(from_client, server)),
            asyncio.create_task(self._pump(from_server, client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            await self._flows.wait()  # a hole also holds back the end of a connection


def _end(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    sock = writer.get_extra_info("socket")
    if reset and sock is not None and sock.fileno() >= 0:
        linger = struct.pack("ii", 1, 0)  # close() discards queued data and sends RST
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    if reset:
        writer.transport.abort()
    else:
        writer.close()
