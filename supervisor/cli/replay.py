"""`botapi replay`: downloads and verifies a replay, and shows the progress.

aiohttp and the progress bar of rich are imported with their first use, so that `--help` is fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Self

import typer
from rich.console import Console

from actors.matches.match import is_valves, on_mirror
from actors.replays.files import InUse, PartFile, PlainFile
from actors.replays.verify import BadReplay
from supervisor.cli.client import (
    TIMEOUT_S,
    ApiClient,
    KeyFile,
    Service,
    Timeout,
    Url,
    refusals,
    service_at,
)
from supervisor.cli.match import MatchId
from supervisor.cli.terminal import AsJson, ConfigFile, ExitCode, fail, say, size_of, span
from supervisor.clock import SystemClock
from supervisor.logs.redaction import printable

# Valve uploads a replay some minutes after the match, rarely later than this.
UPLOAD_S: Final = 24 * 3600
RETRY_AFTER_S: Final = 300.0
STDOUT: Final = Path("-")  # of `--output`

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File or directory to write to, - for stdout; default: the server's name, here.",
        show_default=False,
    ),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        envvar="BOTAPI_REPLAY_MIRROR",
        metavar="URL",
        help="Server with the same files; default: the one that the service names, or Valve's.",
        show_default=False,
    ),
]


def replay(
    match_id: MatchId,
    *,
    output: Output = None,
    extract: Annotated[
        bool, typer.Option("--extract", help="Write the uncompressed .dem.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    mirror: Mirror = None,
    retries: Annotated[
        int, typer.Option(min=0, metavar="N", help="Consecutive retries without a new byte.")
    ] = 4,
    url: Url = None,
    key_file: KeyFile = None,
    config: ConfigFile = None,
    timeout: Timeout = TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Download and verify the replay of a match.

    Valve's servers compress replays with zstd (older ones with bzip2) and name all of them .dem.bz2. The
    same command continues an interrupted download.

    Exit codes: 3 no such match or no replay (any more), 4 try again later, 130 Ctrl-C.
    """
    order = Order(
        match_id=match_id,
        service=service_at(url, key_file, config),
        output=output,
        extract=extract,
        force=force,
        mirror=mirror,
        retries=retries,
        timeout_s=timeout,
        as_json=as_json,
    )
    with refusals(as_json=as_json):
        asyncio.run(fetch(order))


@dataclass(frozen=True, slots=True)
class Order:
    """The arguments of the command."""

    match_id: int
    service: Service
    output: Path | None
    extract: bool
    force: bool
    mirror: str | None
    retries: int
    timeout_s: float
    as_json: bool
    is_piped: bool = False  # `output` is a temporary directory

    def fail(
        self, code: ExitCode, sentence: str, word: str, retry_after: float | None = None
    ) -> typer.Exit:
        """Print the error; return the exception to raise."""
        return fail(code, sentence, as_json=self.as_json, word=word, retry_after=retry_after)


async def fetch(order: Order) -> None:
    """Download and verify the replay; print a line about it on stdout.

    Raises:
        typer.Exit: the replay is not available; the reason is printed.
        ApiUnreachable, ApiRefused: the service refused or did not answer.
    """
    if order.output == STDOUT:
        await _to_stdout(order)
        return
    if order.output is not None and not order.output.is_dir():
        _check_free(order, order.output)
    target, url, compression = await _to_file(order)
    _say_done(order, target, url, compression)


async def _to_stdout(order: Order) -> None:
    """Download to a temporary file and verify it before a byte of it is written to stdout."""
    if order.as_json or sys.stdout.isatty():
        why = "--json writes to stdout too" if order.as_json else "stdout is a terminal"
        raise order.fail(ExitCode.MISUSED, f"{why}: name a file with -o", "stdout")
    with tempfile.TemporaryDirectory(prefix="botapi-replay-") as directory:
        piped = replace(order, output=Path(directory), is_piped=True)
        target, _, _ = await _to_file(piped)
        try:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            sys.stdout = None  # else the interpreter flushes it at exit
            raise order.fail(
                ExitCode.FAILED, "the reader of stdout has closed it", "stdout"
            ) from None


async def _to_file(order: Order) -> tuple[Path, str, str | None]:
    """Return the verified file, its URL and its compression."""
    async with ApiClient(order.service, timeout_s=order.timeout_s) as api:
        path = f"/replays/{order.match_id}"
        facts = await api.get(path, redirect=0)
        if facts["url"] is None:
            await api.get(path)  # refused, with the word and the sentence of the reason
            raise order.fail(
                ExitCode.RETRY_LATER, "the replay has just become available", "try-again"
            )
    url = str(facts["url"])
    url = on_mirror(url, order.mirror) if order.mirror else url
    target = _target(order, url)
    _check_free(order, target)
    with _words(order, facts["ended_at"], target):
        compression = await _download(order, url, target)
    return target, url, compression


async def _download(order: Order, url: str, target: Path) -> str | None:
    """Download the file to `target`; return its compression."""
    from actors.replays.download import Download  # noqa: PLC0415 - heavy, and only for a download

    with (
        PartFile(target) as part,
        PlainFile(target) if order.extract else contextlib.nullcontext() as sink,
        Bar(target.name) as bar,
    ):
        download = Download(
            order.match_id,
            url,
            part=part,
            sink=sink,
            watcher=bar,
            retries=order.retries,
            clock=SystemClock(),
        )
        await download.run(through_proxy=is_valves(url))
        if sink is not None:
            sink.become_target()
            part.discard()
        else:
            part.become_target()
    return download.compression


@contextlib.contextmanager
def _words(order: Order, ended_at: float | None, target: Path) -> Iterator[None]:
    """Turn the errors of the block into one line and an exit code."""
    from actors.replays.download import GaveUp, NotThere  # noqa: PLC0415 - as in `_download`

    part = target.with_name(target.name + ".part")

    def kept() -> str:
        """Return words about the part file; call it when the files are closed."""
        if order.is_piped or not part.exists():
            return ""
        return f"; the part so far is kept in {part}; the same command continues from there"

    try:
        yield
    except NotThere:
        raise _not_there(order, ended_at) from None
    except GaveUp as error:
        raise order.fail(
            ExitCode.RETRY_LATER, f"the download failed: {error}{kept()}", "download-broke"
        ) from None
    except BadReplay as error:
        sentence = f"the server sent a damaged file twice: {error}; nothing is kept"
        raise order.fail(ExitCode.FAILED, sentence, "bad-replay") from None
    except InUse as error:
        raise order.fail(ExitCode.FAILED, str(error), "in-use") from None
    except OSError as error:
        where = error.filename or part
        raise order.fail(ExitCode.FAILED, f"{where}: {error.strerror}{kept()}", "disk") from None
    except asyncio.CancelledError:
        say(f"botapi: interrupted{kept()}", err=True)
        raise


def _not_there(order: Order, ended_at: float | None) -> typer.Exit:
    """Explain a 404 of the file server by the age of the match."""
    name = f"the replay of match {order.match_id}"
    age = None if ended_at is None else SystemClock().wall() - ended_at
    if age is not None and age < 0:  # a wrong date
        age = None
    if age is not None and age < UPLOAD_S:
        sentence = (
            f"{name} is not uploaded yet: the match ended {span(age)} ago; the upload takes minutes"
        )
        return order.fail(ExitCode.RETRY_LATER, sentence, "replay-not-yet-available", RETRY_AFTER_S)
    since = "" if age is None else f": the match ended {span(age)} ago"
    sentence = f"{name} is no longer on the server{since}; most are kept for about two weeks"
    return order.fail(ExitCode.NOT_FOUND, sentence, "replay-expired")


def _target(order: Order, url: str) -> Path:
    name = url.rpartition("/")[2]
    name = name.removesuffix(".bz2") if order.extract else name
    if order.output is None:
        return Path(name)
    return order.output / name if order.output.is_dir() else order.output


def _check_free(order: Order, target: Path) -> None:
    if target.exists() and not order.force:
        raise order.fail(ExitCode.MISUSED, f"{target} exists; --force replaces it", "exists")


def _say_done(order: Order, target: Path, url: str, compression: str | None) -> None:
    size = target.stat().st_size
    how = None if order.extract else compression
    if order.as_json:
        done = {"match_id": order.match_id, "file": str(target), "bytes": size, "url": url}
        typer.echo(json.dumps({**done, "compression": how}))
    else:
        kind = "an unpacked replay" if how is None else f"a whole replay ({how})"
        say(f"{target}: {kind}, {size_of(size)}")


class Bar:
    """A progress bar on stderr; nothing where that is no terminal."""

    def __init__(self, name: str) -> None:
        from rich import progress  # noqa: PLC0415 - heavy, and only for a download

        console = Console(stderr=True)
        self._name = printable(name)
        self._last = 0
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=None),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task = self._progress.add_task("asking", total=None)
        self._is_receiving = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def reading(self, length: int) -> None:
        """Show that so many bytes of an earlier download are being checked."""
        self._progress.update(self._task, description="checking what is there", total=length)

    def coming(self, length: int, size: int | None) -> None:
        """Show that so many bytes of `size` have arrived."""
        if self._is_receiving and length >= self._last:
            self._progress.update(self._task, completed=length, total=size)
        else:  # bytes of an earlier download do not count for the speed
            self._progress.reset(
                self._task, total=size, completed=length, description=self._name, visible=True
            )
        self._is_receiving, self._last = True, length

    def waiting(self, seconds: float, reason: str) -> None:
        """Show that the next attempt starts in some seconds."""
        self._is_receiving = False
        self._progress.update(
            self._task, description=f"{printable(reason)}; again in {seconds:.0f} s"
        )
