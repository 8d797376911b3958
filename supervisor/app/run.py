"""One run of the service: signals and exit codes."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin, AccountRow
from actors.bot.eresults import command_for
from actors.dashboard.snapshot import need_of_row
from actors.errors import AccountError
from actors.redis.embedded import OTHERS
from supervisor import __version__
from supervisor.app.open_files import AcceptErrors, raise_open_files_limit
from supervisor.app.secrets import VARIABLE
from supervisor.app.tree import Tree, open_tree
from supervisor.child_runner import ChildGaveUp
from supervisor.config.load import Loaded
from supervisor.config.model import LOOPBACK
from supervisor.logs import setup as logs

EXIT_CLEAN: Final = 0
EXIT_FAILED: Final = 1
FULL_COLLECTIONS: Final = 1  # collections of the middle generation for each full one
PATIENCE_S: Final = 3.0  # with Redis, before the first steps are shown


def serve(loaded: Loaded) -> int:
    """Run the service until SIGTERM or SIGINT; return the process's exit code.

    A second one fails the requests under way; bots still log off and release their accounts. SIGHUP reads
    the settings and the API keys again.

    Raises:
        ConfigError: the service cannot start as configured; nothing is left behind.
    """
    os.umask(OTHERS)  # only this user can read new files of this process and its children
    raise_open_files_limit()
    return asyncio.run(_serve(loaded, structlog.get_logger()))


async def _serve(loaded: Loaded, log: FilteringBoundLogger) -> int:
    asyncio.get_running_loop().set_exception_handler(AcceptErrors(log=log))
    async with open_tree(loaded, log=log) as tree:
        for note in loaded.notes():
            log.warning("variable_unread", reason=note)
        return await _run_until_signal(tree, log)


async def _run_until_signal(tree: Tree, log: FilteringBoundLogger) -> int:
    loop = asyncio.get_running_loop()
    signals = itertools.count(1)

    def stop() -> None:  # acts before it logs, as logging may fail
        if next(signals) == 1:
            tree.root.stop()
            log.info("service_stopping")
        else:
            tree.force_stop()
            log.warning("stop_forced", reason="asked again: running requests are not waited for")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, tree.reread)
    log.info("service_starting", version=__version__)
    resources, settings = tree.resources, tree.config.settings
    token_file = None if resources.admin_token is None else settings.token_file
    if token_file is not None:
        log.info("admin_api_on", file=str(token_file))
    if not resources.encryption.has_key:
        log.warning(
            "secrets_unsealed", reason=f"no {VARIABLE}: passwords and tokens are stored plain"
        )
    try:
        await tree.root.start()
        if sys.stderr.isatty():
            address, bots = resources.listener.getsockname(), settings.bots.count
            logs.say(await first_steps(address, token_file, bots, tree.stores.admin))
        _freeze_heap()
        await tree.root.run()
    except ChildGaveUp as gave_up:
        log.error("service_failed", reason=str(gave_up))  # noqa: TRY400 - the crash itself is logged
        return EXIT_FAILED
    log.info("service_stopped")
    return EXIT_CLEAN


def _freeze_heap() -> None:
    """Exclude objects that live as long as the process from garbage collection.

    They are most of the heap, and each full collection would traverse them.
    """
    gc.collect()
    gc.freeze()
    # A bot's run leaves one large cycle: a connection and its users. A full collection starts when the
    # heap has grown by a quarter; after this second one, the frozen objects do not count.
    gc.collect()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTIONS)


async def first_steps(
    address: tuple[Any, ...], token_file: Path | None, bots: int, admin: AccountAdmin
) -> str:
    """Return the text that `botapi run` shows on a terminal: addresses, files and the next command.

    `address`: as a socket has it. `token_file`: None without an admin API. `bots`: their intended
    number.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            state, command = _state_and_command(await admin.overview())
    except (AccountError, TimeoutError) as error:
        state, command = f"not known: {str(error) or 'Redis does not answer'}", "botapi status"
    lines = {
        "page": _url(address),
        "admin token": "none: there is no admin API" if token_file is None else f"in {token_file}",
        "accounts": state,
        "bots": str(bots),
        "next": command,
    }
    width = max(map(len, lines)) + 2
    return "\n".join(("", *(f"  {name:<{width}}{text}" for name, text in lines.items()), ""))


def _url(address: tuple[Any, ...]) -> str:
    host, port = str(address[0]), address[1]
    host = LOOPBACK.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _state_and_command(accounts: list[AccountRow]) -> tuple[str, str]:
    """Return the state of the accounts, and the command that adds, repairs or shows them."""
    needs = [(row.account, need) for row in accounts if (need := need_of_row(row)) is not None]
    if not accounts:
        return "none yet", "botapi accounts add NAME"
    if not needs:
        return str(len(accounts)), "botapi status"
    return f"{len(accounts)}, {len(needs)} of them need a person", command_for(*needs[0])
