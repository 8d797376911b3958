"""One run of the service: signals and exit codes."""

from __future__ import annotations

import asyncio
import gc
import itertools
import signal
import sys
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from supervisor import __version__
from supervisor.app.open_files import AcceptErrors, raise_open_files_limit
from supervisor.app.private_files import only_ours_from_now_on
from supervisor.app.secrets import VARIABLE
from supervisor.app.tree import Tree, planted
from supervisor.child_runner import ChildGaveUp
from supervisor.config.load import Loaded
from supervisor.logs import setup as logs

EXIT_CLEAN: Final = 0
EXIT_FAILED: Final = 1
LOOKS: Final = 1  # at the younger objects, for each at all that are not frozen


def serve(loaded: Loaded) -> int:
    """Run the service until SIGTERM or SIGINT; return the process's exit code.

    A second of them gives up what is under way; bots still log off and accounts are still given back.

    SIGHUP has the settings and the API keys read again, as saving their files does.

    Raises:
        ConfigError: it cannot start as configured; nothing was left behind.
    """
    only_ours_from_now_on()
    log: FilteringBoundLogger = structlog.get_logger()
    raise_open_files_limit()
    return asyncio.run(_serve(loaded, log))


async def _serve(loaded: Loaded, log: FilteringBoundLogger) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(AcceptErrors(now=loop.time, log=log))
    async with planted(loaded, log=log) as tree:
        for note in loaded.notes():
            log.warning("variable_unread", reason=note)
        return await _run_until_signal(tree, log)


async def _run_until_signal(tree: Tree, log: FilteringBoundLogger) -> int:
    loop = asyncio.get_running_loop()
    signals = itertools.count(1)

    def stop() -> None:  # acts first: what is said of it must not be able to prevent it
        if next(signals) == 1:
            tree.root.stop()
            log.info("service_stopping")
        else:
            tree.hurry()
            log.warning("stop_hurried", reason="asked again: running requests are not waited for")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, tree.reread)
    log.info("service_starting", version=__version__)
    if tree.admin_token_file is not None:
        log.info("admin_api_on", file=str(tree.admin_token_file))
    if not tree.is_sealing:
        log.warning(
            "secrets_unsealed", reason=f"no {VARIABLE}: passwords and tokens are stored plain"
        )
    try:
        await tree.root.start()
        if sys.stderr.isatty():
            logs.say(await tree.first_steps())
        _keep_what_is_there()
        await tree.root.run()
    except ChildGaveUp as gave_up:
        log.error("service_failed", reason=str(gave_up))  # noqa: TRY400 - the crash itself is logged
        return EXIT_FAILED
    log.info("service_stopped")
    return EXIT_CLEAN


def _keep_what_is_there() -> None:
    """Spare the garbage collector what lives as long as the process: modules, schemas, the tree.

    It is most of the heap, and would be looked through for every few thousand requests.
    """
    gc.collect()
    gc.freeze()
    # What a life leaves is one large cycle, of a connection and all that stood on it. So the rest of the
    # heap, which is small now, is looked through as soon as it has grown by a quarter; and not by a
    # quarter of what is frozen, which the collector forgets with one more look.
    gc.collect()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, LOOKS)
