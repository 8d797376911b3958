"""Runs rounds of faults and prints the results; exit code 1 if there was a violation."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter

from bench.chaos.env import BROKEN, SERVICE
from bench.chaos.faults import KINDS, available_kinds
from bench.chaos.round import FAULT_EVERY_S, PLENTY, Round, RoundResult
from bench.report import print_machine, print_table

ALONE_EVERY_S = 32.0  # with `--only`: longer than a fault and the 10 s after it
MOST_VIOLATIONS = 50  # printed per round


def main() -> None:
    """Run rounds until the time is over, at least one."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-s", type=float, default=70.0, help="seconds of faults in a round")
    parser.add_argument(
        "--break",
        dest="broken",
        choices=["renewal"],
        help="do not renew leases",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sorted(KINDS),
        metavar="FAULT",
        help="only these, one at a time",
    )
    options = parser.parse_args()
    kinds = available_kinds()
    for name in KINDS.keys() - kinds.keys():
        print(f"left out: {name} needs libfaketime (Debian: apt install libfaketime)")
    if options.only:
        kinds = {name: kind for name, kind in kinds.items() if name in options.only}
        if not kinds:
            sys.exit(2)
    print_machine()
    until = time.monotonic() + options.minutes * 60
    total = RoundResult()
    number = 0
    while number == 0 or time.monotonic() < until:
        one = Round(
            seed=options.seed * 1000 + number,
            length_s=options.round_s,
            module=BROKEN if options.broken else SERVICE,
            kinds=kinds,
            config=PLENTY if options.only else None,
            one_at_a_time=bool(options.only),
            fault_every_s=ALONE_EVERY_S if options.only else FAULT_EVERY_S,
        )
        result = asyncio.run(one.run())
        print(f"round {number}, seed {one.seed}: {result.summary()}")
        for violation in result.checks.violations[:MOST_VIOLATIONS]:
            print(f"  {violation}")
        sys.stdout.flush()
        total.add(result)
        number += 1
    report(total)
    sys.exit(1 if total.checks.violations else 0)


def report(total: RoundResult) -> None:
    """Print all counts."""
    for head, counts in (
        ("faults", total.faults),
        ("answers", total.answers),
        ("checks", total.checks.counts),
    ):
        print()
        print_table([head, "number"], _rows(counts))
    print()
    print_table(["sampler", "checks", "longest difference (s)"], total.consistency.rows())
    print(f"{total.consistency.samples} samples, one a second; what it compares may differ for 2 s")
    print(f"\nslowest recovery after the last fault of a round: {total.recovery_s:.1f} s")
    print(f"{sum(total.faults.values())} faults of {len(total.faults)} kinds, ", end="")
    print(f"{len(total.checks.violations)} violations")


def _rows(counts: Counter[str]) -> list[list[str]]:
    return [[name, str(number)] for name, number in sorted(counts.items())]


if __name__ == "__main__":
    main()
