"""Every kind of fault, as a coroutine that begins it, waits, and ends it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.chaos.arena import BLOCK_S, SECRET_KEY, ChaosEnv, secret_key
from bench.chaos.member import Member
from bench.chaos.proxy import FaultProxy, Mode
from bench.moved_clock import library

HOUR_S: Final = 3600.0

Fault = Callable[[ChaosEnv, Member, random.Random], Awaitable[None]]


# -- processes ---------------------------------------------------------------------------------


async def kill_and_restart(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Kill -9; the engine starts it again on the same data."""
    await member.kill()
    await asyncio.sleep(rng.uniform(0, 1))
    await member.start()


async def kill_and_leave(arena: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Kill the process with SIGKILL and start it again after its leases have lapsed."""
    await member.kill()
    await asyncio.sleep(arena.lease_s + rng.uniform(1, 4))
    await member.start()


async def stop_and_restart(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """SIGTERM, as in a rolling update."""
    await member.stop()
    await asyncio.sleep(rng.uniform(0, 1))
    await member.start()


async def pause(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """SIGSTOP for a while that the lease outlasts."""
    await member.pause(rng.uniform(1, 6))


async def pause_past_lease(arena: ChaosEnv, member: Member, rng: random.Random) -> None:
    """SIGSTOP until others may have the accounts."""
    await member.pause(arena.lease_s + rng.uniform(1, 5))


async def loop_blocked(_: ChaosEnv, member: Member, __: random.Random) -> None:
    """The loop stands still for longer than a lease; the thread that talks to Steam goes on."""
    await member.block(BLOCK_S)


async def log_unwritable(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Nothing reads the log for longer than a lease, or its reader is gone until the next start."""
    if rng.random() < 0.5:
        member.service.stop_reading()
        try:
            await asyncio.sleep(BLOCK_S)
        finally:
            member.service.read_again()
    else:
        member.service.close_reader()
        await asyncio.sleep(rng.uniform(5, 10))
        await stop_and_restart(_, member, rng)


async def wrong_key(arena: ChaosEnv, member: Member, _: random.Random) -> None:
    """The process is started with a key that did not seal what is stored, then with the right one.

    It may start where it cannot see that, because Redis does not answer it. Where nothing is sealed any
    key is the right one, as the first to seal decides.
    """
    await member.stop()
    async with arena.valkeys.steady() as is_sealed:
        if is_sealed:
            key = {SECRET_KEY: secret_key("wrong")}
            await member.refuse_to_start(key, unless="redis_lost")
    await member.start()


# -- links -------------------------------------------------------------------------------------


async def _for_a_while(proxy: FaultProxy, mode: Mode, seconds: float) -> None:
    with proxy.in_mode(mode):
        await asyncio.sleep(seconds)


async def redis_cut(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """All connections to Redis break."""
    member.links.redis.cut(reset=rng.random() < 0.5)


async def redis_refused(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """They break and no new one is to be had."""
    member.links.redis.cut()
    await _for_a_while(member.links.redis, Mode.REFUSE, rng.uniform(1, 6))


async def redis_hole(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Nothing flows for a while."""
    await _for_a_while(member.links.redis, Mode.HOLE, rng.uniform(1, 5))


async def redis_gone_past_lease(arena: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Nothing flows until the leases have lapsed: every bot must have left its account by then."""
    await _for_a_while(member.links.redis, Mode.HOLE, arena.lease_s + rng.uniform(0, 4))


async def redis_slow(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Every answer takes longer."""
    member.links.redis.delay_s = rng.uniform(0.02, 0.3)
    try:
        await asyncio.sleep(rng.uniform(2, 6))
    finally:
        member.links.redis.delay_s = 0.0


async def steam_cut(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """All connections to Steam break."""
    for proxy in member.links.steam:
        proxy.cut(reset=rng.random() < 0.5)


async def steam_half_open(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Nothing flows on one CM's connections, new ones included."""
    await _for_a_while(rng.choice(member.links.steam), Mode.HOLE, rng.uniform(2, 12))


async def steam_refused(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """One CM breaks off and refuses."""
    proxy = rng.choice(member.links.steam)
    proxy.cut()
    await _for_a_while(proxy, Mode.REFUSE, rng.uniform(1, 8))


async def steam_slow(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """Every message takes longer."""
    for proxy in member.links.steam:
        proxy.delay_s = rng.uniform(0.05, 0.6)
    try:
        await asyncio.sleep(rng.uniform(2, 6))
    finally:
        for proxy in member.links.steam:
            proxy.delay_s = 0.0


async def cut_off(_: ChaosEnv, member: Member, rng: random.Random) -> None:
    """A partition: neither Redis nor Steam can be reached."""
    seconds = rng.uniform(2, 12)
    every_link = [member.links.redis, *member.links.steam]
    await asyncio.gather(*(_for_a_while(proxy, Mode.HOLE, seconds) for proxy in every_link))


# -- what all stand on -------------------------------------------------------------------------


async def valkey_restart(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """An orderly restart."""
    await arena.valkeys.restart(kill=False, down_s=rng.uniform(0, 3))


async def valkey_kill(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Kill -9; what was acknowledged is in its log."""
    await arena.valkeys.restart(kill=True, down_s=rng.uniform(0, 3))


async def lost_leases(arena: ChaosEnv, _: Member, __: random.Random) -> None:
    """All leases are gone; scores and holders are not."""
    await arena.valkeys.drop_leases()


async def old_snapshot(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Redis comes back with what it held seconds ago."""
    await arena.valkeys.restore(rng.uniform(3, 12))
    await arena.sandbox.quota(reset=True)


async def flush_all(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Redis is empty; the operator adds the accounts again."""
    await arena.valkeys.flush(arena.sandbox.accounts, rng.uniform(0, 3))
    await arena.sandbox.quota(reset=True)  # else the rest of the round would be Steam's silence


async def readonly_failover(arena: ChaosEnv, _: Member, __: random.Random) -> None:
    """A replica takes over; connections that exist stay with the old primary, now a replica."""
    await arena.valkeys.fail_over()


async def redis_clock_step(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """The clock of Redis is an hour later, or earlier, and stays so; the next step leads back."""
    offset_s = arena.valkeys.offset_s
    await arena.valkeys.step_clock(-offset_s if offset_s else rng.choice((-HOUR_S, HOUR_S)))


async def steam_drops_some(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """Steam drops a random part of the sessions of all processes."""
    mode = rng.choice(("close", "reset", "mid_message"))
    await arena.sandbox.drop(mode, fraction=rng.uniform(0.2, 1.0))


async def gc_away(arena: ChaosEnv, _: Member, rng: random.Random) -> None:
    """The Game Coordinator goes, and comes back."""
    await arena.sandbox.faults(gc_down={"value": True, "for_s": rng.uniform(1, 6)})


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault, how often it comes, and whether it needs the process for itself or strikes all."""

    run: Fault
    weight: float = 1.0
    of_process: bool = False
    of_all: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    **{
        fault.__name__: Kind(fault, weight, of_process=True)
        for fault, weight in (
            (kill_and_restart, 1.5),
            (kill_and_leave, 0.7),
            (stop_and_restart, 1.0),
            (pause, 1.0),
            (pause_past_lease, 0.7),
            (loop_blocked, 0.5),
            (log_unwritable, 0.5),
            (wrong_key, 0.5),
        )
    },
    **{
        fault.__name__: Kind(fault, weight)
        for fault, weight in (
            (redis_cut, 1.5),
            (redis_refused, 1.0),
            (redis_hole, 1.0),
            (redis_gone_past_lease, 0.5),
            (redis_slow, 1.0),
            (steam_cut, 1.5),
            (steam_half_open, 1.0),
            (steam_refused, 1.0),
            (steam_slow, 1.0),
            (cut_off, 0.7),
        )
    },
    **{
        fault.__name__: Kind(fault, weight, of_all=True)
        for fault, weight in (
            (valkey_restart, 0.6),
            (valkey_kill, 0.6),
            (lost_leases, 0.5),
            (old_snapshot, 0.5),
            (flush_all, 0.4),
            (readonly_failover, 0.5),
            (redis_clock_step, 0.5),
            (steam_drops_some, 1.0),
            (gc_away, 0.7),
        )
    },
}


def possible(kinds: Mapping[str, Kind] = KINDS) -> dict[str, Kind]:
    """Return those that can be injected here: the clock of Valkey needs libfaketime."""
    return {
        name: kind
        for name, kind in kinds.items()
        if name != redis_clock_step.__name__ or library() is not None
    }
