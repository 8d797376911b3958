"""`botapi accounts login`: one interactive log-on."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.store import AccountStore
from actors.bot.interactive_logon import InteractiveLogon
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.link import SteamNetwork
from actors.steam.port import GuardKind, GuardRequest, LoggedOn, TransportKind
from actors.steam.steam_time import SteamTime
from actors.steam.transport.base import Trust
from supervisor.cli.terminal import say
from supervisor.clock import SystemClock
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings

WHERE: Final = {
    GuardKind.EMAIL: "the e-mail that Steam has sent",
    GuardKind.DEVICE: "the mobile app, or approve it there",
}


async def login(
    settings: Settings, store: AccountStore, admin: AccountAdmin, pacing: LogonLimiter, name: str
) -> LoggedOn:
    """Check the account out, log it on, store its token, release it.

    Raises:
        ConfigError: the settings name no network.
        ServiceError: Steam or the store refused.
    """
    url = settings.steam.effective_directory_url
    if url is None:
        raise ConfigError(
            "steam.directory_url", "it is not set; a private sandbox has demo accounts only"
        )
    clock = SystemClock()
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    at_steam = SteamTime(clock)
    hub = Hub(clock=clock, log=log)
    trust = Trust.load(settings.steam.ca_file, settings.steam.universe_key_file)
    # The credential flow is known to work over WebSocket; TCP is not confirmed.
    directory = CmDirectory(
        url, TransportKind.WEBSOCKET, clock=clock, rng=random.Random(), log=log, time=at_steam
    )
    by_hand = InteractiveLogon(
        admin=admin,
        store=store,
        network=SteamNetwork(hub, trust, clock=at_steam, rng=random.Random(), log=log),
        directory=directory,
        limiter=pacing,
        clock=clock,
        rng=random.Random(),
        holder=f"login-{socket.gethostname()}-{os.getpid()}",
    )
    await hub.start()
    running = asyncio.create_task(hub.run())
    try:
        return await by_hand.log_on(name, Prompt(sys.stdin.fileno()))
    finally:
        hub.stop()
        await running


class Prompt:
    """Reads Steam Guard codes from the terminal or from stdin, until it is cancelled."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = b""  # bytes after the last line returned
        self._is_over = False

    async def __call__(self, request: GuardRequest) -> str | None:
        """Return the line that answers `request`; None at the end of the input."""
        again = "That code was wrong. " if request.attempt > 1 else ""
        if request.is_renewed:
            again = "That code has expired, and Steam has sent another one. "
        hint = f" ({request.hint})" if request.hint else ""
        asked = f"{again}Steam Guard code from {WHERE[request.kind]}{hint}: "
        say(asked, nl=False, err=True)
        try:
            return await self._line() or None
        except asyncio.CancelledError:  # approved in the app, or another code is needed
            say("", err=True)
            raise

    async def _line(self) -> str:
        while b"\n" not in self._read and not self._is_over:
            await self._readable()
            more = os.read(self._descriptor, 4096)
            self._read += more
            self._is_over = not more
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace").strip()

    async def _readable(self) -> None:
        """Wait for input without a thread, which could not be cancelled."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        try:
            loop.add_reader(self._descriptor, ready.set)
        except PermissionError:  # a file is always readable
            return
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._descriptor)
