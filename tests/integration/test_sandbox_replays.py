"""The sandbox's replay server, by an HTTP client: files, ranges, faults."""

from __future__ import annotations

import asyncio
import bz2
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import pytest
from backports import zstd

from bench.sandbox_process import SandboxProcess
from sandbox.gc.matches.catalogue import Catalogue

pytestmark = pytest.mark.integration

MATCH, SALT = 7490235544, 447089001
FILE = f"{MATCH}_{SALT}.dem.bz2"
MAGIC = b"PBDEMS2\0"
NEW_MATCH = 8_990_000_000  # played after Valve introduced zstd


@dataclass
class Got:
    """An answer; `is_whole`: the connection did not break before its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(options=("--replay-mb", "0.6")) as running:
        yield running


@pytest.fixture
async def sandbox(module_sandbox: SandboxProcess) -> SandboxProcess:
    await module_sandbox.clear_faults()
    return module_sandbox


async def get(sandbox: SandboxProcess, name: str = FILE, **headers: str) -> Got:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    url = f"{sandbox.replay_url}/570/{name}"
    timeout = aiohttp.ClientTimeout(total=30, sock_read=2)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(url, headers=named) as answer,
    ):
        body = bytearray()
        try:
            async for piece in answer.content.iter_any():
                body += piece
        except (aiohttp.ClientError, TimeoutError):
            return Got(answer.status, answer.headers, bytes(body), is_whole=False)
        return Got(answer.status, answer.headers, bytes(body))


def unpacked(body: bytes) -> bytes:
    """Decompress strictly; `bz2.decompress` ignores invalid bytes after the first stream."""
    found = b""
    while body:
        one = bz2.BZ2Decompressor() if body[:3] == b"BZh" else zstd.ZstdDecompressor()
        found += one.decompress(body)
        assert one.eof
        body = one.unused_data
    return found


async def test_a_replay_is_a_bz2_that_begins_as_source_2_replays_do(
    sandbox: SandboxProcess,
) -> None:
    got = await get(sandbox)
    assert (got.status, got.headers["Accept-Ranges"]) == (200, "bytes")
    assert 450_000 * 0.9 < len(got.body) < 750_000 * 1.1
    assert unpacked(got.body).startswith(MAGIC)
    assert (await get(sandbox)).body == got.body


async def test_metadata_exist_and_other_matches_have_other_files(
    sandbox: SandboxProcess,
) -> None:
    meta = await get(sandbox, FILE.replace(".dem.", ".meta."))
    assert meta.status == 200
    assert not unpacked(meta.body).startswith(MAGIC)
    salt = Catalogue(seed=0).replay_salt(8_000_000_000)
    other = await get(sandbox, f"8000000000_{salt}.dem.bz2")
    assert unpacked(other.body) != unpacked((await get(sandbox)).body)


def info_of(plain: bytes) -> bytes:
    """Return the file info at the offset in the header."""
    return plain[int.from_bytes(plain[8:12], "little") :]


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


async def test_newer_matches_are_compressed_with_zstd_under_the_same_kind_of_name(
    sandbox: SandboxProcess,
) -> None:
    salt = Catalogue(seed=0).replay_salt(NEW_MATCH)
    name = f"{NEW_MATCH}_{salt}.dem.bz2"
    new, meta = await get(sandbox, name), await get(sandbox, name.replace(".dem.", ".meta."))
    assert new.body[:4] == meta.body[:4] == bytes.fromhex("28b52ffd")
    assert unpacked(new.body).startswith(MAGIC)
    assert b"\x08" + varint(NEW_MATCH) in info_of(unpacked(new.body))
    assert (await get(sandbox)).body[:3] == b"BZh"
    await sandbox.faults(replay_compression="bzip2")
    assert unpacked((await get(sandbox, name)).body) == unpacked(new.body)


async def test_a_file_names_its_match_unless_a_switch_sets_another(
    sandbox: SandboxProcess,
) -> None:
    assert b"\x08" + varint(MATCH) in info_of(unpacked((await get(sandbox)).body))
    await sandbox.faults(replay_content_of=7_000_000_001)
    info = info_of(unpacked((await get(sandbox)).body))
    assert b"\x08" + varint(7_000_000_001) in info
    assert varint(MATCH) not in info


@pytest.mark.parametrize(
    "name",
    [
        f"{MATCH}_1.dem.bz2",  # another salt
        "1781962623_1.dem.bz2",  # expired, with the dummy salt
        "9000000000_1.dem.bz2",  # not played yet
        "7490235544_447089001.dem",
        "x",
    ],
)
async def test_a_missing_file_is_404(sandbox: SandboxProcess, name: str) -> None:
    assert (await get(sandbox, name)).status == 404


async def test_a_file_that_is_not_uploaded_yet_looks_like_one_that_never_was(
    sandbox: SandboxProcess,
) -> None:
    await sandbox.hide_replays(MATCH)
    assert (await get(sandbox)).status == 404
    await sandbox.call("POST", "/matches/no-replay", {"remove": [MATCH]})
    assert (await get(sandbox)).status == 200


async def test_the_rest_of_a_file_can_be_requested(sandbox: SandboxProcess) -> None:
    whole = await get(sandbox)
    part = await get(sandbox, Range="bytes=1000-", If_Range=whole.headers["ETag"])
    size = len(whole.body)
    assert (part.status, part.body) == (206, whole.body[1000:])
    assert part.headers["Content-Range"] == f"bytes 1000-{size - 1}/{size}"
    beyond = await get(sandbox, Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")


async def test_another_upload_answers_a_range_with_the_whole_file(sandbox: SandboxProcess) -> None:
    before = await get(sandbox)
    await sandbox.faults(replay_version=2)
    after = await get(sandbox, Range="bytes=1000-", If_Range=before.headers["ETag"])
    assert after.status == 200
    assert after.body != before.body
    assert unpacked(after.body).startswith(MAGIC)


async def test_every_fault_of_the_replay_server(sandbox: SandboxProcess) -> None:
    whole = await get(sandbox)
    await sandbox.faults(replay_status={"value": 503, "times": 1})
    assert [(await get(sandbox)).status for _ in range(2)] == [503, 200]
    await sandbox.faults(replay_break_kb={"value": 100, "times": 1})
    broken = await get(sandbox)
    assert (broken.body, broken.is_whole) == (whole.body[:100_000], False)
    await sandbox.faults(replay_stall_kb={"value": 100, "times": 1})
    assert not (await get(sandbox)).is_whole
    await sandbox.faults(replay_corrupt={"times": 1})
    with pytest.raises(OSError, match="data"):
        unpacked((await get(sandbox)).body)
    await sandbox.faults(replay_truncated={"times": 1})
    assert whole.body.startswith((await get(sandbox)).body)
    await sandbox.faults(replay_no_ranges={"times": 1})
    assert (await get(sandbox, Range="bytes=1000-")).status == 200


async def test_every_request_is_in_the_journal(sandbox: SandboxProcess) -> None:
    since = await sandbox.last_event()
    await get(sandbox, Range="bytes=1000-1999")
    (event,) = await sandbox.wait_journal("replay_request", since=since)
    fields = {key: event[key] for key in ("name", "method", "status", "start", "sent")}
    assert fields == {"name": FILE, "method": "GET", "status": 206, "start": 1000, "sent": 1000}


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_client_that_disconnects_early_is_no_error(
    sandbox: SandboxProcess, how: str
) -> None:
    since = await sandbox.last_event()
    await sandbox.faults(replay_kb_s=300)
    address = urlsplit(sandbox.replay_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET /570/{FILE} HTTP/1.1\r\nHost: replay\r\n\r\n".encode())
    assert (await reader.read(1000)).startswith(b"HTTP/1.1 200")
    if how == "reset":
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()
    [noted] = await sandbox.wait_journal("replay_request", since=since)
    assert noted["sent"] < 600_000
    await sandbox.clear_faults()
    assert (await get(sandbox)).is_whole
    assert sandbox.errors() == ""
