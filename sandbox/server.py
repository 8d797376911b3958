"""Composition root of the sandbox: builds its parts and runs its servers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web

from sandbox.control import scenario
from sandbox.control.actions import Actions
from sandbox.control.api import PREFIX, Control
from sandbox.control.faults import Faults
from sandbox.control.journal import Journal
from sandbox.gc import gc
from sandbox.gc.matches import catalogue
from sandbox.gc.quota import Quotas
from sandbox.gc.reordering import Reordering
from sandbox.network.cm import HOST, ConnectionManager
from sandbox.network.directory import Directory
from sandbox.network.tcp import TcpCm
from sandbox.network.websocket import WebSocketCm
from sandbox.options import Options
from sandbox.replays.server import ReplayServer
from sandbox.steam import accounts, keys
from sandbox.steam.authenticator import Authenticator, Mailbox
from sandbox.steam.context import Context, SteamClock
from sandbox.steam.logon_limits import LogonLimiter
from sandbox.steam.session import Sessions
from sandbox.steam.tokens import Tokens

JOURNAL: Final = "journal.jsonl"  # in the state directory, written at the end of a run
CARDS_PER_IP: Final = 5  # times the quota of one account, as with matches
PARENT_CHECK_S: Final = 0.5
_MARGIN_S: Final = 0.001  # so that the timer never fires before the switch expires


def build_context(options: Options, state: Path) -> Context:
    """Build the state that all sessions share.

    Raises:
        AccountsError, MatchesError: an input file is invalid.
        OSError, ValueError: the state directory cannot be used.
    """
    known = accounts.load(options.accounts)
    stored = catalogue.load(options.matches) if options.matches else None
    rng = random.Random(options.seed)
    key_ring = keys.load_or_create(state)

    faults = Faults(rng)
    clock = SteamClock(options.clock_offset_s)
    tokens = Tokens(key_ring, state / "tokens.json" if options.state else None, clock.now)
    mailbox = Mailbox()
    return Context(
        options=options,
        keys=key_ring,
        accounts=known,
        journal=Journal(),
        faults=faults,
        tokens=tokens,
        authenticator=Authenticator(key_ring, known, tokens, mailbox, rng, now=clock.now),
        mailbox=mailbox,
        quotas=Quotas(options.quota_account, options.quota_ip),
        card_quotas=Quotas(options.quota_cards, options.quota_cards * CARDS_PER_IP),
        catalogue=catalogue.Catalogue(options.seed, stored),
        rng=rng,
        clock=clock,
        reordering=Reordering(rng),
        logon_limiter=LogonLimiter(faults, clock.now, is_enabled=options.logon_limits),
        licensed={account.name for account in known if not account.no_license},
    )


class Sandbox:
    """The servers of one sandbox."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sessions = Sessions()
        options = context.options
        names = [f"ws{n}" for n in range(1, options.websocket_cms + 1)]
        self._cms: list[ConnectionManager] = [
            WebSocketCm(name, context, self._sessions) for name in names
        ]
        names = [f"tcp{n}" for n in range(1, options.tcp_cms + 1)]
        self._cms += [TcpCm(name, context, self._sessions) for name in names]
        self._directory = Directory(context, self._cms)
        self._replays = ReplayServer(context)
        actions = Actions(context, self._sessions, self._apply_faults)
        file = options.scenario
        self._scenario = scenario.validate(scenario.read_file(file), actions) if file else []
        self._control = Control(context, self._sessions, actions)
        self._port = 0
        self._applying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, stack: AsyncExitStack) -> None:
        """Start every server; `stack` closes them.

        Raises:
            OSError: the port is in use.
        """
        app = web.Application()
        self._directory.add_routes(app.router)
        self._replays.add_routes(app.router)
        self._control.add_routes(app.router)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(self._directory.close)
        stack.push_async_callback(self._control.close)
        site = web.TCPSite(runner, HOST, self._context.options.port)
        await site.start()
        self._port = runner.addresses[0][1]
        for cm in self._cms:
            stack.push_async_callback(cm.close)
            await cm.open()
        stack.callback(self._abort_connections)

    def start_scenario(self) -> None:
        """Start the scenario of `--scenario`, if there is one."""
        if self._scenario:
            self._control.start_scenario(self._scenario, str(self._context.options.scenario))

    def ready_line(self) -> bytes:
        """Return the line of JSON with the addresses of all servers."""
        base = f"http://{HOST}:{self._port}"
        key_ring = self._context.keys
        return orjson.dumps(
            {
                "directory_url": base,
                "control_url": base + PREFIX,
                "replay_url": base,
                "ca_file": str(key_ring.ca_file),
                "universe_key_file": str(key_ring.universe_key_file),
                "pid": os.getpid(),
                "endpoints": self._directory.endpoints(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def _abort_connections(self) -> None:
        for session in self._sessions:
            session.end("sandbox_stopped")
            session.connection.abort()

    async def _apply_faults(self) -> None:
        """Apply the switches to servers and sessions, now and when the next switch expires."""
        async with self._applying:
            faults = self._context.faults
            for cm in self._cms:
                await cm.apply_faults(faults)
            self._apply_gc_faults(faults)
            end = faults.next_end()
            if end is not None:
                asyncio.get_running_loop().call_later(end + _MARGIN_S, self._apply_later)

    def _apply_later(self) -> None:
        task = asyncio.create_task(self._apply_faults(), name="apply faults")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _apply_gc_faults(self, faults: Faults) -> None:
        for session in self._sessions:
            if session.name is None:
                continue
            if faults.is_on("gc_down", account=session.name):
                gc.take_down(session)
            else:
                gc.admit_queued(session)


async def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        AccountsError, MatchesError, ScenarioError, ActionError, OSError, ValueError: the sandbox cannot
            start.
    """
    async with AsyncExitStack() as stack:
        if options.state is None:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-")))
        else:
            state = options.state.resolve()
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        context = build_context(options, state)
        if options.state is not None:
            # Pushed first, so it runs last: the journal includes the events of the shutdown.
            stack.callback(context.journal.write_to, state / JOURNAL)
        sandbox = Sandbox(context)
        await sandbox.open(stack)
        sys.stdout.buffer.write(sandbox.ready_line())
        sys.stdout.buffer.flush()
        sandbox.start_scenario()
        await _until_stopped(stopped, os.getppid() if options.exit_with_parent else None)


async def _until_stopped(stopped: asyncio.Event, parent: int | None) -> None:
    wait: Callable[[], Awaitable[bool]] = stopped.wait
    while True:
        try:
            await asyncio.wait_for(wait(), None if parent is None else PARENT_CHECK_S)
        except TimeoutError:
            if os.getppid() != parent:  # the parent has ended
                return
        else:
            return
