"""`botapi accounts login`: the parts of one log-on by hand, put together; a composition root too."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from typing import Final

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.pacing import LogOnPacing
from actors.accounts.store import Accounts
from actors.first_logon import ByHand
from actors.steam.clock import SteamTime
from actors.steam.directory import CmDirectory
from actors.steam.hub import Hub
from actors.steam.network import SteamNetwork
from actors.steam.port import GuardKind, GuardRequest, LoggedOn, Transport
from actors.steam.trust import Trust
from supervisor.clock import SystemClock
from supervisor.settings import ConfigError, Settings

WHERE: Final = {GuardKind.EMAIL: "the e-mail Steam has sent", GuardKind.DEVICE: "the mobile app"}


async def login(
    settings: Settings, store: Accounts, admin: AccountAdmin, pacing: LogOnPacing, name: str
) -> LoggedOn:
    """Take the account, log it on, keep its token, give it back.

    Raises:
        ConfigError: the settings name no network.
        ServiceError: Steam or the store refused; the text says why.
    """
    url = settings.steam.effective_directory_url
    if url is None:
        raise ConfigError(
            "steam.directory_url",
            "it is not set, and a sandbox of our own knows only demo accounts",
        )
    clock, log = SystemClock(), _quiet()
    at_steam = SteamTime(clock)
    hub = Hub(clock=clock, log=log)
    trust = Trust.load(settings.steam.ca_file, settings.steam.universe_key_file)
    # The credential flow is known to work over WebSocket; whether over TCP is uncertain.
    directory = CmDirectory(
        url, Transport.WEBSOCKET, clock=clock, rng=random.Random(), log=log, time=at_steam
    )
    by_hand = ByHand(
        admin=admin,
        store=store,
        steam=SteamNetwork(hub, trust, clock=at_steam, rng=random.Random(), log=log),
        directory=directory,
        pacing=pacing,
        clock=clock,
        rng=random.Random(),
        holder=f"login-{socket.gethostname()}-{os.getpid()}",
    )
    await hub.start()
    running = asyncio.create_task(hub.run())
    try:
        return await by_hand.log_on(name, _ask)
    finally:
        hub.stop()
        await running


async def _ask(request: GuardRequest) -> str | None:
    """Ask the person at the terminal, or the next line of stdin."""
    again = "That code was wrong. " if request.attempt > 1 else ""
    hint = f" ({request.hint})" if request.hint else ""
    typer.echo(f"{again}Steam Guard code from {WHERE[request.kind]}{hint}: ", nl=False, err=True)
    line = await asyncio.to_thread(sys.stdin.readline)
    return line.strip() or None


def _quiet() -> FilteringBoundLogger:
    """Return a logger for warnings and worse; a person reads this."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(30)
    )
    return logger
