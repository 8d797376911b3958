"""A service whose asyncio loop can be blocked from outside, with SIGUSR1, while its other threads go on.

Takes the place of `botapi` on the command line. Nothing in the service knows of it.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Final

from supervisor.cli.main import main

BLOCK_S: Final = "CHAOS_BLOCK_S"  # environment variable: seconds


def _block(_number: int, _frame: FrameType | None) -> None:
    """Stand still, as a handler of a library that blocks, or a file system that hangs."""
    time.sleep(float(os.environ[BLOCK_S]))


def install() -> None:
    """Let SIGUSR1 block the main thread, which runs the loop."""
    signal.signal(signal.SIGUSR1, _block)


if __name__ == "__main__":
    install()
    main()
