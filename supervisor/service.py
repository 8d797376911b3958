"""One run of the service: the tree planted, run until a signal, its end turned into an exit code."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from supervisor import __version__
from supervisor.secret_key import VARIABLE
from supervisor.settings import Settings
from supervisor.supervisor import ChildGaveUp
from supervisor.tree import Tree, planted

EXIT_CLEAN: Final = 0
EXIT_FAILED: Final = 1


def serve(settings: Settings, *, sandbox: bool) -> int:
    """Run the service until SIGTERM or SIGINT; return the process's exit code.

    `sandbox`: on a simulated network of its own, whatever the settings name.

    Raises:
        ConfigError: it cannot start as configured; nothing was left behind.
    """
    log: FilteringBoundLogger = structlog.get_logger()
    return asyncio.run(_serve(settings.in_sandbox() if sandbox else settings, log))


async def _serve(settings: Settings, log: FilteringBoundLogger) -> int:
    async with planted(settings, log=log) as tree:
        return await _run_until_signal(tree, log)


async def _run_until_signal(tree: Tree, log: FilteringBoundLogger) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tree.root.stop)
    log.info("service_starting", version=__version__)
    if not tree.is_sealing:
        log.warning(
            "secrets_unsealed", reason=f"no {VARIABLE}: passwords and tokens are stored plain"
        )
    try:
        await tree.root.start()
        await tree.root.run()
    except ChildGaveUp as gave_up:
        log.error("service_failed", reason=str(gave_up))  # noqa: TRY400 - the crash itself is logged
        return EXIT_FAILED
    log.info("service_stopped")
    return EXIT_CLEAN
