"""The command line of the sandbox: arguments in, exit code out."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from sandbox.options import Options
from sandbox.program import run

_BAD_INPUT = 2


def main(argv: list[str] | None = None) -> int:
    """Run a simulated Steam until it is told to stop; 0 after a clean stop, 2 for bad input."""
    options = Options(**vars(_parser().parse_args(argv)))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(run(options))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return _BAD_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox", description="A simulated Steam on loopback.")
    add = parser.add_argument
    add("--accounts", type=Path, required=True, metavar="FILE", help="JSON list of accounts")
    add("--port", type=_port, default=0, help="of directory and control API; 0: any (default)")
    add("--matches", type=Path, metavar="DIR", help="*.json files with whole match answers")
    add("--state", type=Path, metavar="DIR", help="keep keys and revocations here")
    add("--websocket-cms", type=_count, default=2, metavar="N")
    add("--tcp-cms", type=_count, default=2, metavar="N")
    add("--gc-delay", dest="gc_delay_ms", type=_amount, default=0.0, metavar="MS")
    add("--welcome-delay", dest="welcome_delay_ms", type=_amount, default=0.0, metavar="MS")
    add("--heartbeat", dest="heartbeat_s", type=_amount, default=9.0, metavar="S")
    add("--quota-account", type=_count, default=100, metavar="N", help="match requests per 24 h")
    add("--quota-ip", type=_count, default=500, metavar="N", help="match requests per 24 h")
    add("--seed", type=_count, default=0, metavar="N", help="of matches and of chance")
    add("--scenario", type=Path, metavar="FILE", help="TOML timeline, begun when it is ready")
    add("--exit-with-parent", action="store_true", help="end when the starting process does")
    return parser


def _port(text: str) -> int:
    number = _count(text)
    if number > 0xFFFF:  # noqa: PLR2004 - the largest port
        raise argparse.ArgumentTypeError("not a port")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _amount(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must not be negative")
    return number
