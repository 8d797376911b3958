"""Redis away and back, and the private Valkey: data kept, directory locked, no process left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import StoreUnavailable
from actors.redis.client import connect
from actors.redis.embedded import EmbeddedValkey, EmbeddedValkeyError
from actors.steam.port import AuthState
from bench.valkey import own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_leaks")]


def accounts(url: str) -> AccountStore:
    return AccountStore(connect(url), prefix="botapi", quota=QuotaLimits(), lease_s=60.0)


async def test_an_outage_is_reported_quickly_and_survived() -> None:
    with own_valkey() as valkey:
        store = accounts(f"redis://127.0.0.1:{valkey.port}/0")
        await store.add("axe", "pw")
        lease = await store.acquire("us")
        valkey.stop()
        begun = time.monotonic()
        for call in (store.renew(lease), store.ping(), store.acquire("them")):
            with pytest.raises(StoreUnavailable):
                await call
        assert time.monotonic() - begun < 4
        valkey.start()
        await store.renew(lease)
        await store.close()


async def test_a_server_that_hangs_is_given_up_in_time() -> None:
    with own_valkey() as valkey:
        store = accounts(f"redis://127.0.0.1:{valkey.port}/0")
        await store.ping()
        process = psutil.Process(valkey._process.pid)
        process.suspend()
        try:
            with pytest.raises(StoreUnavailable):
                await store.ping()
        finally:
            process.resume()
        await store.close()


async def test_the_private_valkey_keeps_what_was_stored(tmp_path: Path) -> None:
    for password in (None, "pw"):
        valkey = EmbeddedValkey(tmp_path)
        await valkey.start()
        running = asyncio.create_task(valkey.run())
        store = accounts(valkey.url)
        if password is None:
            await store.add("axe", "pw")
        else:
            lease = await store.acquire("us")
            assert (await store.credential(lease)).password == password
        await store.close()
        valkey.stop()
        await running
        valkey.disclaim()


async def test_one_directory_serves_one_process(tmp_path: Path) -> None:
    first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
    first.claim()
    with pytest.raises(EmbeddedValkeyError, match="is in use by another BotAPI"):
        second.claim()
    first.disclaim()
    second.claim()
    second.disclaim()


def test_a_directory_that_cannot_be_made_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedValkeyError, match=r"cannot write to .* choose another"):
        EmbeddedValkey(tmp_path / "file").claim()


async def test_a_server_that_dies_is_a_failure(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    await valkey.start()
    running = asyncio.create_task(valkey.run())
    await asyncio.sleep(0)
    assert valkey._process is not None
    valkey._process.kill()
    with pytest.raises(EmbeddedValkeyError, match="ended with code"):
        await running
    await valkey.start()  # its supervisor would
    valkey.stop()
    await valkey.run()
    valkey.disclaim()


async def test_a_path_too_long_for_a_socket_works_too(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    valkey = EmbeddedValkey(deep)
    await valkey.start()
    store = accounts(valkey.url)
    await store.ping()
    await store.close()
    valkey.stop()
    await valkey.run()
    valkey.disclaim()


HOLD = """
import asyncio, sys
from pathlib import Path
from actors.redis.embedded import EmbeddedValkey
async def main():
    valkey = EmbeddedValkey(Path(sys.argv[1]))
    await valkey.start()
    print(valkey._process.pid, flush=True)
    await valkey.run()
asyncio.run(main())
"""


def held_by_a_killed_process(data_dir: Path) -> psutil.Process:
    """Start a private Valkey in a process of its own, kill that, and return the server."""
    command = [sys.executable, "-c", HOLD, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        server = psutil.Process(int(holder.stdout.readline()))
        os.kill(holder.pid, signal.SIGKILL)
    return server


async def test_it_dies_with_a_process_that_was_killed(tmp_path: Path) -> None:
    server = held_by_a_killed_process(tmp_path)
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running()
    valkey = EmbeddedValkey(tmp_path)  # and its directory is free again
    await valkey.start()
    valkey.stop()
    await valkey.run()
    valkey.disclaim()


async def test_auth_state_that_could_not_be_stored_is_stored_by_the_next_holder() -> None:
    auth = AuthState(7, "token", "guard")
    with own_valkey() as valkey:
        store = accounts(f"redis://127.0.0.1:{valkey.port}/0")
        await store.add("axe", "pw")
        first = await store.acquire("us/bot-1")
        valkey.stop()
        with pytest.raises(StoreUnavailable):
            await store.save_auth(first, auth)
        valkey.start()
        await store.release(first)
        second = await store.acquire("us/bot-2")
        assert await store.load_auth(second) == auth
        await store.close()
        other = accounts(f"redis://127.0.0.1:{valkey.port}/0")
        assert await other.load_auth(second) == auth
        await other.close()


async def test_a_holder_stores_again_what_redis_lost() -> None:
    """As after a failover to a replica that lacks the newest writes."""
    auth = AuthState(7, "token", "guard")
    with own_valkey() as valkey:
        redis = connect(f"redis://127.0.0.1:{valkey.port}/0")
        store = accounts(f"redis://127.0.0.1:{valkey.port}/0")
        await store.add("axe", "pw")
        lease = await store.acquire("us")
        await store.save_auth(lease, auth)
        await redis.delete(*(f"botapi:{key}" for key in ("leases", "holders", "sentries")))
        await redis.zadd("botapi:checkouts", {"axe": 0})
        await store.renew(lease)
        other = accounts(f"redis://127.0.0.1:{valkey.port}/0")
        assert await other.load_auth(lease) == auth
        for one in (store, other):
            await one.close()
        await redis.aclose()
