"""Rounds of faults, a table of what happened, and exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from bench.chaos.arena import BROKEN, SERVICE
from bench.chaos.round import Outcome, Round
from bench.report import print_machine, print_table


def main() -> None:
    """Run until the minutes are over; at least one round."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-s", type=float, default=70.0, help="seconds of faults in a round")
    parser.add_argument("--break", dest="broken", choices=["renewal"], help="see the judge say no")
    options = parser.parse_args()
    print_machine()
    until = time.monotonic() + options.minutes * 60
    total = Outcome()
    number = 0
    while number == 0 or time.monotonic() < until:
        one = Round(
            seed=options.seed * 1000 + number,
            length_s=options.round_s,
            module=BROKEN if options.broken else SERVICE,
        )
        outcome = asyncio.run(one.run())
        print(f"round {number}, seed {one.seed}: {outcome.summary()}", flush=True)
        total.add(outcome)
        number += 1
    report(total)
    sys.exit(1 if total.verdict.violations else 0)


def report(total: Outcome) -> None:
    """Print everything that was counted."""
    for head, counts in (
        ("faults", total.faults),
        ("answers", total.answers),
        ("checks", total.verdict.checks),
    ):
        print()
        print_table([head, "number"], _rows(counts))
    print(f"\nslowest recovery after the last fault of a round: {total.recovery_s:.1f} s")
    print(f"{sum(total.faults.values())} faults of {len(total.faults)} kinds, ", end="")
    print(f"{len(total.verdict.violations)} violations")
    for violation in total.verdict.violations[:50]:
        print(f"  {violation}")


def _rows(counts: Counter[str]) -> list[list[str]]:
    return [[name, str(number)] for name, number in sorted(counts.items())]


if __name__ == "__main__":
    main()
