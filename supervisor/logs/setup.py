"""Configures structlog, the standard library's logging and Python's warnings.

A log call never waits and never raises: `_Chain` makes the line, `output.py` writes it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from supervisor.config.model import Log
from supervisor.logs.output import Output
from supervisor.logs.redaction import cut, for_terminal, printable_lines, redact, without_secrets

# These log every request at info or debug, for which the service has a line of its own. watchfiles logs
# every write to a file, which may be the log itself.
_CHATTY: Final = ("aiohttp.access", "asyncio", "urllib3", "watchfiles")


class _Threshold:
    """Drops events below a level that may change; a structlog processor.

    The level of structlog's filtering logger is fixed when a logger is bound.
    """

    def __init__(self) -> None:
        self.level = logging.INFO

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if structlog.processors.NAME_TO_LEVEL[method] < self.level:
            raise structlog.DropEvent
        return event


class _Sink:
    """The destination of lines; one per process, like structlog's own configuration."""

    output: Output | None = None  # None until `configure`
    is_json = False


class _Chain:
    """Turns an event into a line; a structlog processor that raises only for a dropped event.

    A value that cannot be shown must not raise in the code that logs it.
    """

    def __init__(self, processors: Sequence[Processor], renderer: Processor) -> None:
        self._processors = (*processors, renderer)
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        name = event.get("event")
        try:
            line: Any = event
            for processor in self._processors:
                line = processor(logger, method, line)
        except structlog.DropEvent:
            raise
        except Exception as error:  # noqa: BLE001 - a value may raise anything when it is shown
            shown = without_secrets(cut(name)) if isinstance(name, str) else type(name).__name__
            bare = {"event": shown, "level": method, "unreadable": type(error).__name__}
            line = self._renderer(logger, method, _stamp(logger, method, bare))
        return str(line)


class _LineLogger:
    """Receives finished lines from structlog.

    The lock of structlog's own loggers is not reentrant, and the garbage collector may log while one
    is held.
    """

    def msg(self, line: str) -> None:
        """Write one line."""
        if sink.output is not None:
            sink.output.write(line + "\n")

    debug = info = warning = error = critical = exception = msg


class _Handler(logging.Handler):
    """Passes records of the standard library to the output."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if sink.output is None:
            return
        try:
            sink.output.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - for example arguments that do not fit the format
            sink.output.note_dropped()


_stamp: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)
sink: Final = _Sink()
threshold: Final = _Threshold()


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's root logger. Call once per process.

    Args:
        log: level and format; ``auto`` is ``console`` on a terminal and ``json`` elsewhere.
        stream: the destination; None means stderr.
    """
    if stream is None:
        if sys.stderr is None:  # it was closed before the start
            sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the process's life
        stream = sys.stderr
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,  # a text without local variables
        redact,  # after every processor that may add a secret, the traceback included
        _stamp,
    ]
    is_json = log.format == "json" or (log.format == "auto" and not stream.isatty())
    if is_json:
        renderer: Processor = structlog.processors.JSONRenderer(serializer=_json)
    else:
        processors.append(for_terminal)
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    chain = _Chain(processors, renderer)
    close()
    sink.output = Output(stream, functools.partial(_gap_line, chain))
    sink.is_json = is_json
    structlog.configure(
        processors=[threshold, chain],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: _LineLogger(),
        cache_logger_on_first_use=False,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, chain],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    _route_uncaught()
    change_level(log.level)
    atexit.unregister(close)
    atexit.register(close)


def say(text: str) -> None:
    """Write a plain text after the lines so far, for example why the service cannot start."""
    if sink.output is not None:
        sink.output.write(f"{printable_lines(text)}\n")


def drain() -> None:
    """Wait, for a second at most, until the lines so far are written."""
    if sink.output is not None:
        sink.output.drain()


def close() -> None:
    """Write the queued lines within a second and end the output thread. Harmless when repeated.

    Later lines are not written.
    """
    if sink.output is not None:
        sink.output.close()


def dropped_lines() -> int:
    """Return the number of lines that could not be written since the start."""
    return 0 if sink.output is None else sink.output.dropped


def report() -> Mapping[str, int]:
    """Return the numbers of lines that could not be written and that wait for the stream."""
    output = sink.output
    return {"dropped_lines": dropped_lines(), "waiting_lines": output.waiting if output else 0}


def change_level(name: str) -> None:
    """Set the level of all loggers at once; `name` as in the settings."""
    level = logging.getLevelNamesMapping()[name.upper()]
    threshold.level = level
    logging.getLogger().setLevel(level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def _json(event: EventDict, default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(event, default=default).decode()
    except TypeError:  # a number of more than 64 bits, or a lone surrogate
        return json.dumps(event, default=default)


def _gap_line(chain: _Chain, lines: int) -> str:
    """Return the line that reports so many dropped lines; empty below the level."""
    with contextlib.suppress(structlog.DropEvent):
        event = threshold(None, "warning", {"event": "log_lines_dropped", "lines": lines})
        return chain(None, "warning", event) + "\n"
    return ""


def _route_uncaught() -> None:
    """Log uncaught exceptions, which Python would print.

    Hooks that another component has installed, for example a test runner, stay in place.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: _log_uncaught(
            args.exc_type, args.exc_value, args.exc_traceback, where=str(args.thread)
        )
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda args: _log_uncaught(
            args.exc_type, args.exc_value, args.exc_traceback, where=repr(args.object)
        )


def _log_uncaught(
    kind: type[BaseException],
    error: BaseException | None,
    trace: TracebackType | None,
    where: str = "main",
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    structlog.get_logger().error(
        "error_uncaught",
        where=where,
        error_type=kind.__name__,
        exc_info=(kind, error or kind(), trace),
    )
