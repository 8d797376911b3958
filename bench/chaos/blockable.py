"""The `botapi` command with an event loop that SIGUSR1 blocks; its other threads keep running."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Final

SECONDS_VARIABLE: Final = "CHAOS_BLOCK_S"


def _block(_number: int, _frame: FrameType | None) -> None:
    """Block, as a library call or a file system that hangs."""
    time.sleep(float(os.environ[SECONDS_VARIABLE]))


def install() -> None:
    """Install the handler of SIGUSR1; signal handlers run in the main thread, as does the loop."""
    signal.signal(signal.SIGUSR1, _block)


if __name__ == "__main__":
    from supervisor.cli.main import main

    install()
    main()
