"""Progress of a download: a bar on a terminal, or no output."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from supervisor.terminal import printable


class Bar:
    """A bar with speed and time left, on stderr; nothing at all where that is no terminal."""

    def __init__(self, name: str) -> None:
        console = Console(stderr=True)
        self._name = printable(name)
        self._last = 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task = self._progress.add_task("asking", total=None)
        self._is_coming = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def reading(self, length: int) -> None:
        """So many bytes of an earlier try are checked now."""
        self._progress.update(self._task, description="checking what is there", total=length)

    def coming(self, length: int, size: int | None) -> None:
        """So many bytes of `size` are there."""
        if self._is_coming and length >= self._last:
            self._progress.update(self._task, completed=length, total=size)
        else:  # what was there before says nothing about the speed
            self._progress.reset(
                self._task, total=size, completed=length, description=self._name, visible=True
            )
        self._is_coming, self._last = True, length

    def waiting(self, seconds: float, reason: str) -> None:
        """The next try comes in some seconds."""
        self._is_coming = False
        self._progress.update(
            self._task, description=f"{printable(reason)}; again in {seconds:.0f} s"
        )
