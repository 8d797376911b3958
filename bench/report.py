"""Output of benchmarks: the machine, tables and percentiles."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence


def print_machine() -> None:
    """Print Python's version, the machine and its load."""
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}, "
        f"load {os.getloadavg()[0]:.2f}"
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "") -> None:
    """Print aligned columns; the first is text, the others numbers."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))
    if caption:
        print(f"({caption})")


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of ascending values."""
    rank = max(0, min(len(ordered) - 1, round(percent / 100 * len(ordered) + 0.5) - 1))
    return ordered[rank]
