"""The running sandbox: build, serve, stop."""

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

from sandbox.control import scenario, timeline
from sandbox.control.actions import Actions
from sandbox.control.api import PREFIX, Control
from sandbox.control.faults import Faults
from sandbox.control.journal import Journal
from sandbox.gc import gc
from sandbox.gc.matches import catalogue
from sandbox.gc.quota import Quotas
from sandbox.gc.reordering import Reordering
from sandbox.network.cm import ConnectionManager, Place
from sandbox.network.directory import Directory
from sandbox.network.ports import HOST
from sandbox.network.tcp import TcpCm
from sandbox.network.websocket import WebSocketCm
from sandbox.options import Options
from sandbox.replays.server import ReplayServer
from sandbox.steam import accounts, keys
from sandbox.steam.authenticator import Authenticator
from sandbox.steam.context import Calendar, Context
from sandbox.steam.mailbox import Mailbox
from sandbox.steam.session import Sessions
from sandbox.steam.tokens import Tokens

JOURNAL: Final = "journal.jsonl"  # in the state directory, written at the end of a run
CARDS_PER_IP: Final = 5  # accounts' worth, as with matches
PARENT_CHECK_S: Final = 0.5
_AFTER_S: Final = 0.001  # surely behind the instant


def build(options: Options, state: Path) -> Context:
    """Make the simulated Steam's inside.

    Raises:
        AccountsError, MatchesError: bad input files.
        OSError, ValueError: the state directory cannot be used.
    """
    known = accounts.load(options.accounts)
    given = catalogue.load(options.matches) if options.matches else None
    rng = random.Random(options.seed)
    ring = keys.load_or_make(state)

    calendar = Calendar(options.clock_offset_s)
    tokens = Tokens(ring, state / "tokens.json" if options.state else None, calendar.now)
    mailbox = Mailbox()
    return Context(
        options=options,
        keys=ring,
        accounts=known,
        journal=Journal(),
        faults=Faults(rng),
        tokens=tokens,
        authenticator=Authenticator(ring, known, tokens, mailbox, rng, now=calendar.now),
        mailbox=mailbox,
        quotas=Quotas(options.quota_account, options.quota_ip),
        card_quotas=Quotas(options.quota_cards, options.quota_cards * CARDS_PER_IP),
        catalogue=catalogue.Catalogue(options.seed, given),
        rng=rng,
        calendar=calendar,
        held=Reordering(rng),
        licensed={account.name for account in known if not account.no_license},
    )


class Sandbox:
    """All servers of one sandbox."""

    def __init__(self, services: Context) -> None:
        self._services = services
        self._sessions = Sessions()
        options = services.options
        names = [f"ws{n}" for n in range(1, options.websocket_cms + 1)]
        self._cms: list[ConnectionManager] = [WebSocketCm(self._place(name)) for name in names]
        names = [f"tcp{n}" for n in range(1, options.tcp_cms + 1)]
        self._cms += [TcpCm(self._place(name)) for name in names]
        self._directory = Directory(services, self._cms)
        self._replays = ReplayServer(services)
        deeds = Actions(services, self._sessions, self._apply_faults)
        file = options.scenario
        self._timeline = scenario.check(timeline.read(file), deeds) if file else []
        self._control = Control(services, self._sessions, deeds)
        self._port = 0
        self._applying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def _place(self, name: str) -> Place:
        return Place(name, self._services, self._sessions)

    async def open(self, stack: AsyncExitStack) -> None:
        """Start every server; `stack` closes them again.

        Raises:
            OSError: the port is taken.
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
        site = web.TCPSite(runner, HOST, self._services.options.port)
        await site.start()
        self._port = runner.addresses[0][1]
        for cm in self._cms:
            stack.push_async_callback(cm.close)
            await cm.open()
        stack.callback(self._destroy_links)

    def begin_timeline(self) -> None:
        """Begin what the scenario's file holds, if there is one."""
        if self._timeline:
            self._control.play(self._timeline, str(self._services.options.scenario))

    def ready_line(self) -> bytes:
        """Return the one line of JSON that says where everything is."""
        base = f"http://{HOST}:{self._port}"
        ring = self._services.keys
        return orjson.dumps(
            {
                "directory_url": base,
                "control_url": base + PREFIX,
                "replay_url": base,
                "ca_file": str(ring.ca_file),
                "universe_key_file": str(ring.universe_key_file),
                "pid": os.getpid(),
                "endpoints": self._directory.endpoints(),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def _destroy_links(self) -> None:
        for session in self._sessions:
            session.end("sandbox_stopped")
            session.link.destroy()

    async def _apply_faults(self) -> None:
        """Do at once what a changed switch demands, and again when a switch's time is up."""
        async with self._applying:
            faults = self._services.faults
            for cm in self._cms:
                await cm.obey(faults)
            self._obey_gc(faults)
            end = faults.next_end()
            if end is not None:
                asyncio.get_running_loop().call_later(end + _AFTER_S, self._apply_later)

    def _apply_later(self) -> None:
        task = asyncio.create_task(self._apply_faults(), name="apply faults")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _obey_gc(self, faults: Faults) -> None:
        for session in self._sessions:
            if session.name is None:
                continue
            if faults.is_on("gc_down", account=session.name):
                gc.take_down(session)
            else:
                gc.let_in(session)


async def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        AccountsError, MatchesError, TimelineError, DeedError, OSError, ValueError: it cannot start.
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
        services = build(options, state)
        if options.state is not None:
            # First in, last out: what happens while everything is closed is part of the story.
            stack.callback(services.journal.write_to, state / JOURNAL)
        sandbox = Sandbox(services)
        await sandbox.open(stack)
        sys.stdout.buffer.write(sandbox.ready_line())
        sys.stdout.buffer.flush()
        sandbox.begin_timeline()
        await _until_stopped(stopped, os.getppid() if options.exit_with_parent else None)


async def _until_stopped(stopped: asyncio.Event, parent: int | None) -> None:
    wait: Callable[[], Awaitable[bool]] = stopped.wait
    while True:
        try:
            await asyncio.wait_for(wait(), None if parent is None else PARENT_CHECK_S)
        except TimeoutError:
            if os.getppid() != parent:  # orphans are given another parent
                return
        else:
            return
