"""Each fault in each state of a bot: it ends in the written state, leaks nothing, affects no other bot.

The table is in two parts: ROWS says what happens, BESIDE_THE_POINT why a cell has none. A bot that
"goes on" is shown to serve once the switches are off again.
"""

from __future__ import annotations

import asyncio
import gc as collector
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from support.bot_env import BotEnv
from support.fault_env import ACCOUNTS, WITH_TOKEN, At, End, FaultEnv, Neighbour
from support.leaks import assert_no_leaks, count_resources
from support.valkey import valkey_url  # noqa: F401 - a fixture

from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.ports import LogOnTimeouts
from actors.bot.states import BotState
from actors.errors import GcUnavailable, SteamUnreachable
from actors.steam.connection import Connection
from actors.steam.port import TransportKind
from bench.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

SOON_S = 0.8
HEARTBEAT_S = 0.25  # where silence has to be noticed
POOL = 20  # connections to Redis, all opened before anything is counted
ON: Any = True
Inject = Callable[[FaultEnv], Awaitable[object]]

# --- how a run may end -----------------------------------------------------------------------
_OFF = BotState.BACKING_OFF
# Before the log-on is complete: the CM's fault.
STAYS_OUT = End(_OFF, marks_cm=True, keeps_lease=True)
GONE = End(_OFF, keeps_lease=True)  # the next run takes the account back
TROUBLE = End(_OFF, marks_cm=True)  # with a result from Steam
IN_USE = End(_OFF, cools_for=300.0)
TWIN = End(_OFF, cools_for=120.0)
NEW_TOKEN = End(_OFF, forgets_token=True)
LIMITED = End(_OFF, stops_ip=True)
PERSON = End(BotState.NEEDS_HUMAN, cools_for=UNTIL_ACTED_S)
NO_WELCOME = End(_OFF)
ROBBED = End(_OFF, keeps_lease=True)  # the lease of the thief
STOPPED = End(BotState.STOPPED)
STOPPED_ROBBED = End(BotState.STOPPED, keeps_lease=True)
GOES_ON = End(BotState.READY)
COMES_BACK = End(BotState.LAUNCHING)  # for as long as the GC is away
Ends = Mapping[At, End]

_LOGGED_ON = (At.LAUNCHING, At.IDLE, At.SERVING)
DROPPED: Ends = {
    At.TOKEN: STAYS_OUT,
    At.PASSWORD: STAYS_OUT,
    **dict.fromkeys(_LOGGED_ON, GONE),
    At.DRAINING: STOPPED,
}
NOT_ITS_BUSINESS: Ends = {
    At.PASSWORD: GOES_ON,
    **dict.fromkeys(_LOGGED_ON, GOES_ON),
    At.DRAINING: STOPPED,
}
GC_MUTE: Ends = {**NOT_ITS_BUSINESS, At.PASSWORD: NO_WELCOME, At.LAUNCHING: NO_WELCOME}
GC_AWAY: Ends = {**GC_MUTE, At.IDLE: COMES_BACK, At.SERVING: COMES_BACK}


def logged_off(end: End) -> Ends:
    return {**dict.fromkeys(_LOGGED_ON, end), At.DRAINING: STOPPED}


# --- how it is done ---------------------------------------------------------------------------
def drop(mode: str) -> Inject:
    return lambda cell_env: cell_env.sandbox.drop(mode, cms=[cell_env.cm])


def corrupt(flaw: str) -> Inject:
    return lambda cell_env: cell_env.sandbox.call(
        "POST", "/corrupt", {"cms": [cell_env.cm], "flaw": flaw}
    )


def log_off(eresult: int) -> Inject:
    return lambda cell_env: cell_env.sandbox.log_off(eresult, accounts=[cell_env.account])


def push(what: str) -> Inject:
    body = {"what": what}
    return lambda cell_env: cell_env.sandbox.call(
        "POST", "/push", {"accounts": [cell_env.account], **body}
    )


def at_the_cm(switch: str, value: Any = ON) -> Inject:
    return lambda cell_env: cell_env.sandbox.faults(
        **{switch: {"value": value, "cms": [cell_env.cm]}}
    )


def of_the_account(switch: str, value: Any = ON) -> Inject:
    async def inject(cell_env: FaultEnv) -> None:
        await cell_env.sandbox.faults(**{switch: {"value": value, "accounts": [cell_env.account]}})
        if cell_env.at is At.PASSWORD:
            cell_env.bring_code()

    return inject


async def end_patience(cell_env: FaultEnv) -> None:
    """The CM limits the wait for a log-on, then sends ClientLoggedOff 2."""
    await cell_env.hold()
    await at_the_cm("logon_wait_s", 0.3)(cell_env)


async def ask_to_stop(cell_env: FaultEnv) -> None:
    cell_env.run.bot.stop()


async def steal(cell_env: FaultEnv) -> None:
    await cell_env.steal_lease()


@dataclass(frozen=True)
class Row:
    """One fault, and its end in each state."""

    fault: str
    inject: Inject
    ends: Ends
    is_early: bool = False  # the bot meets the fault instead of being held in the state
    is_silent: bool = False  # detected only by silence
    on_both: bool = False  # transports


def at_connect(fault: str, switch: str, value: Any = ON, *, on_both: bool = True) -> Row:
    ends = {At.CONNECTING: STAYS_OUT}
    return Row(fault, at_the_cm(switch, value), ends, is_early=True, on_both=on_both)


def broken(fault: str, inject: Inject, *, is_silent: bool = False) -> Row:
    return Row(fault, inject, DROPPED, is_silent=is_silent, on_both=True)


def refused(eresult: int, end: End, fresh: End) -> list[Row]:
    """With a token; and after a password, with a token that is fresh."""
    name, inject = f"log-on refused {eresult}", of_the_account("logon_eresult", eresult)
    return [
        Row(name, inject, {At.TOKEN: end}, is_early=True),
        Row(name, inject, {**NOT_ITS_BUSINESS, At.PASSWORD: fresh}),
    ]


def gc(fault: str, switch: str, value: Any, early: End, ends: Ends) -> list[Row]:
    inject = of_the_account(switch, value)
    return [
        Row(fault, inject, {At.CONNECTING: early, At.TOKEN: early}, is_early=True),
        Row(fault, inject, ends),
    ]


ROWS = [
    # Connections that break. Before there is a session, only the handshake can be broken.
    at_connect("close", "close_handshake"),
    broken("close", drop("close")),
    at_connect("reset", "close_handshake", "reset"),
    broken("reset", drop("reset")),
    at_connect("mid_message", "close_handshake", "garbage"),
    broken("mid_message", drop("mid_message")),
    at_connect("half_open", "accept_and_silence"),
    broken("half_open", drop("half_open"), is_silent=True),
    Row("no heartbeats", at_the_cm("heartbeats_ignored"), {At.IDLE: GONE}, is_silent=True),
    # Bytes that are wrong.
    broken("corrupt magic", corrupt("magic")),
    broken("corrupt hmac", corrupt("hmac")),
    broken("corrupt gzip", corrupt("gzip")),
    broken("corrupt size", corrupt("unzipped_size")),
    broken("corrupt inner length", corrupt("inner_length")),
    broken("corrupt header", corrupt("header")),
    broken("corrupt length", corrupt("length"), is_silent=True),
    # CMs that accept no new session; existing ones stay.
    at_connect("refuse", "refuse_connect"),
    Row("refuse", at_the_cm("refuse_connect"), NOT_ITS_BUSINESS),
    Row("silence", at_the_cm("accept_and_silence"), NOT_ITS_BUSINESS),
    Row("handshake", at_the_cm("close_handshake"), NOT_ITS_BUSINESS),
    at_connect("untrusted", "tls_untrusted", on_both=False),
    Row("untrusted", at_the_cm("tls_untrusted"), NOT_ITS_BUSINESS),
    # Log-ons.
    Row("unanswered", of_the_account("logon_never_answered"), {At.TOKEN: STAYS_OUT}, is_early=True),
    Row(
        "unanswered",
        of_the_account("logon_never_answered"),
        {**NOT_ITS_BUSINESS, At.PASSWORD: STAYS_OUT},
        is_silent=True,
    ),
    *refused(20, TROUBLE, TROUBLE),
    *refused(84, LIMITED, LIMITED),
    *refused(26, NEW_TOKEN, PERSON),
    Row("patience", end_patience, {At.TOKEN: TROUBLE, At.PASSWORD: TROUBLE}, is_early=True),
    # Log-offs by Steam.
    Row("logged off 6", log_off(6), logged_off(IN_USE)),
    Row("logged off 34", log_off(34), logged_off(TWIN)),
    Row("logged off 26", log_off(26), logged_off(NEW_TOKEN)),
    Row("server unavailable", push("server_unavailable"), logged_off(TROUBLE)),
    # The Game Coordinator.
    *gc("gc: no session", "gc_down", ON, NO_WELCOME, GC_AWAY),
    *gc("gc: going down", "gc_down", "going_down", NO_WELCOME, GC_AWAY),
    *gc("gc: queue", "gc_down", "queue", NO_WELCOME, GC_AWAY),
    *gc("gc: no word", "gc_down", "silent", NO_WELCOME, GC_MUTE),
    *gc("gc: silent", "gc_silent", ON, GOES_ON, NOT_ITS_BUSINESS),
    *gc("gc: drops requests", "gc_drop_requests", ON, GOES_ON, NOT_ITS_BUSINESS),
    Row("gc: gone", of_the_account("gc_down"), {At.IDLE: NO_WELCOME, At.SERVING: NO_WELCOME}),
    # The service itself.
    Row("stop", ask_to_stop, dict.fromkeys(At, STOPPED)),
    Row("robbed", steal, {**dict.fromkeys(At, ROBBED), At.DRAINING: STOPPED_ROBBED}),
]

# Empty cells, with reasons.
_HELD = "a log-on is one question: held, it ends by its time limit and by nothing else"
_NOT_YET = "there is no session yet that this could happen to"
_SEE = "as the same garbage in the handshake: see mid_message"
BESIDE_THE_POINT: Mapping[str, Mapping[At, str]] = {
    **{row.fault: {At.CONNECTING: _SEE} for row in ROWS if row.fault.startswith("corrupt")},
    **{
        row.fault: dict.fromkeys((At.CONNECTING, At.TOKEN, At.PASSWORD), _NOT_YET)
        for row in ROWS
        if row.fault.startswith(("logged off", "server"))
    },
    **{row.fault: {At.CONNECTING: _NOT_YET} for row in ROWS if row.fault.startswith("log-on")},
    "refuse": {At.TOKEN: _HELD},
    "untrusted": {At.TOKEN: _HELD},
    "silence": {At.TOKEN: _HELD, At.CONNECTING: "see half_open"},
    "handshake": {At.TOKEN: _HELD, At.CONNECTING: "see close, reset and mid_message"},
    "unanswered": {At.CONNECTING: _NOT_YET},
    "patience": dict.fromkeys(set(At) - {At.TOKEN, At.PASSWORD}, "only of log-ons"),
    "no heartbeats": dict.fromkeys(set(At) - {At.IDLE}, "anything else that is said will do"),
    "gc: gone": dict.fromkeys(set(At) - {At.IDLE, At.SERVING}, "see no session"),
}


@dataclass(frozen=True)
class Cell:
    """One fault in one state, over one transport."""

    row: Row
    at: At
    transport: TransportKind

    def __str__(self) -> str:
        return f"{self.row.fault}-{self.at}-{self.transport}"


CELLS = [
    Cell(row, at, transport)
    for row in ROWS
    for at in row.ends
    for transport in (TransportKind if row.on_both else [TransportKind.WEBSOCKET])
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    options = ("--quota-account", "1000000", "--quota-ip", "1000000")
    with SandboxProcess(ACCOUNTS, options) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def env(sandbox: SandboxProcess, valkey_url: str) -> AsyncIterator[BotEnv]:  # noqa: F811
    async with BotEnv(sandbox, valkey_url) as env:
        await asyncio.gather(*(env.redis.ping() for _ in range(POOL)))
        await env.token(WITH_TOKEN)
        collector.collect()
        collector.freeze()  # existing objects are not scanned after each cell
        yield env
        collector.unfreeze()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbour(env: BotEnv) -> AsyncIterator[Neighbour]:
    neighbour = await Neighbour.moved_in(env)
    yield neighbour
    assert neighbour.run.states[-1] is BotState.READY
    await neighbour.run.stop()


def policy(row: Row, end: End) -> dict[str, Any]:
    """Return the bot's time limits: only as long as the cell needs."""
    changes: dict[str, Any] = {}
    if end == STAYS_OUT and (row.is_early or row.is_silent):
        changes["connect_s"] = SOON_S
        changes["log_on"] = LogOnTimeouts(token_s=SOON_S, credentials_s=SOON_S)
    if end is NO_WELCOME:
        changes["launch_s"] = SOON_S
    if row.inject is steal:
        changes |= {"lease_s": 1.5, "fence_margin_s": 0.5}
    return changes


async def play(cell_env: FaultEnv, row: Row, end: End) -> None:
    """One cell, from the start of the run to its end."""
    since = await cell_env.sandbox.last_event()
    if row.is_early:
        await row.inject(cell_env)
        await cell_env.begin(**policy(row, end))
    else:
        await cell_env.hold()
        await cell_env.begin(**policy(row, end))
        await cell_env.reach(since, request_s=30.0 if is_told(end) else SOON_S)
        await row.inject(cell_env)
    if end.state is BotState.LAUNCHING:
        await cell_env.run.until(BotState.LAUNCHING)
    if end.state in (BotState.LAUNCHING, BotState.READY):
        if row.is_early:
            await cell_env.run.until(BotState.READY)
        await cell_env.recover()
        cell_env.run.bot.stop()
    await settle_request(cell_env, end)
    await cell_env.run.end()


def is_told(end: End) -> bool:
    """Whether the fault ends a request in progress; otherwise its own time limit does."""
    return end.state in (BotState.BACKING_OFF, BotState.LAUNCHING)


async def settle_request(cell_env: FaultEnv, end: End) -> None:
    """Every request is answered."""
    if cell_env.request is None:
        return
    (outcome,) = await asyncio.gather(cell_env.request, return_exceptions=True)
    expected = (SteamUnreachable, GcUnavailable)
    assert isinstance(outcome, expected if is_told(end) else (*expected, TimeoutError))


async def check(cell_env: FaultEnv, end: End) -> None:
    expected = STOPPED if end.state in (BotState.LAUNCHING, BotState.READY) else end
    assert await cell_env.found() == replace(expected, cools_for=None)
    cooldown_s = await cell_env.run.cooldown_s()
    assert cooldown_s == (expected.cools_for and pytest.approx(expected.cools_for, abs=5.0))
    assert cell_env.at.state in cell_env.run.states


async def live_through(cell: Cell, env: BotEnv, neighbour: Neighbour) -> None:
    """One run, checked, with everything switched off afterwards."""
    end = cell.row.ends[cell.at]
    async with neighbour.serving():
        cell_env = FaultEnv(env, cell.at, cell.transport)
        await play(cell_env, cell.row, end)
        await check(cell_env, end)
    await env.sandbox.clear_faults()


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_fault_ends_in_the_written_state_and_leaves_nothing(
    env: BotEnv, neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    if cell.row.is_silent:
        real = Connection.start_pulse
        monkeypatch.setattr(Connection, "start_pulse", lambda self, _: real(self, HEARTBEAT_S))
    before = count_resources(env.redis)
    await live_through(cell, env, neighbour)
    await assert_no_leaks(before, env.redis)


async def test_many_lives_leave_no_memory_behind(env: BotEnv, neighbour: Neighbour) -> None:
    """A leak of one run would exceed the limit five times: a bot has about 500 blocks."""
    names = ("close-ready-serving", "logged off 26", "close-authenticating-password", "gc: gone")
    cells = [cell for cell in CELLS if str(cell).startswith(names)]

    async def blocks() -> int:
        for cell in cells:
            await live_through(cell, env, neighbour)
        collector.collect()
        return sys.getallocatedblocks()

    await blocks()  # allocate what is allocated once
    before = await blocks()
    assert await blocks() - before < 100 * len(cells)


async def test_no_cell_is_forgotten() -> None:
    told = {(row.fault, at) for row in ROWS for at in row.ends}
    beside = {(fault, at) for fault, ats in BESIDE_THE_POINT.items() for at in ats}
    assert told | beside == set(itertools.product({row.fault for row in ROWS}, At))
    assert not told & beside
