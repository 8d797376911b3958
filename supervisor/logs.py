"""How the process logs: one stream of events on stderr, readable or JSON, and never a secret.

Owns the structlog set-up and the redaction. Everything goes through it, including what libraries
log through the standard library and Python's warnings. Knows no event and no actor by name.
"""

from __future__ import annotations

import functools
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from supervisor.log_output import Output
from supervisor.settings_errors import without_password
from supervisor.settings_model import Log

HIDDEN: Final = "***"

_NAMES: Final = r"passw(?:or)?d|token|secret|credential|api[_-]?key|guard[_-]?(?:code|data)"
_SECRET_KEY: Final = re.compile(rf"{_NAMES}|authorization|cookie", re.IGNORECASE)
# A number that orders the holders of a lease; its name is all that it shares with a secret.
_NOT_SECRET: Final = frozenset({"fencing_token"})
# Steam's refresh and access tokens are JSON Web Tokens, whose header always begins with `{"`.
_WEB_TOKEN: Final = re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(\.[\w-]*)?")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+")
# Base64 of 20 bytes, as Steam's shared secrets are, or of 32, as keys are.
_KEY: Final = re.compile(r"(?<![\w+/=-])(?:[\w+/-]{27}|[\w+/-]{43})=(?![\w=])")
# An API key of ours, whatever stands around it.
_API_KEY: Final = re.compile(r"botapi_[\w-]{20,}")
# password='x' of a repr, {'password': 'x'} of a dict, password=x of a query; `x = y` of code passes.
_NAMED: Final = re.compile(
    rf"""(?ix) (?<![\w-]) (?P<name> [\w-]*? (?:{_NAMES}) [\w-]*)
    (?P<sign> ["']? (?: = | \s*[:=]\s* (?=["']) ) )
    (?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s"'&,;()\[\]{{}}]+ )"""
)
# Each of the above needs one of these. Most values are words and numbers: one look instead of six.
_SUSPICIOUS: Final = re.compile(r"[=:@\s]|eyJ|botapi_")
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_MAX_DEPTH: Final = 6  # of nested values; deeper ones are shown as a text

# They log every request at info or debug; our own line per request says more. watchfiles says that a
# file was written: the log itself may be that file.
_CHATTY: Final = ("aiohttp.access", "asyncio", "urllib3", "watchfiles")


class _Threshold:
    """Drops what is below a level; a structlog processor.

    Not structlog's filtering logger, whose level is that of the moment at which an actor bound it.
    """

    def __init__(self) -> None:
        self.level = logging.INFO

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if structlog.processors.NAME_TO_LEVEL[method] < self.level:
            raise structlog.DropEvent
        return event


class _Direct:
    """Where lines of JSON may go past structlog."""

    def __init__(self) -> None:
        self.output: Output | None = None  # while lines are for people, or nothing is set up


_direct: Final = _Direct()
_threshold: Final = _Threshold()  # one per process, as structlog's own configuration


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's root logger. Call once, at the root.

    Args:
        log: level and format; ``auto`` is ``console`` on a terminal and ``json`` elsewhere.
        stream: where to write; None means stderr.
    """
    stream = stream or sys.stderr
    output = Output(stream)
    is_json = _is_json(log.format, is_terminal=stream.isatty())
    renderer = _json_renderer() if is_json else _console_renderer(colors=stream.isatty())
    structlog.configure(
        processors=[_threshold, *_shared(), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(renderer, cast("TextIO", output))
    change_level(log.level)
    _direct.output = output if is_json else None


def change_level(name: str) -> None:
    """Log from this level on, everywhere and at once; `name` as in the settings."""
    level = logging.getLevelNamesMapping()[name.upper()]
    _threshold.level = level
    logging.getLogger().setLevel(level)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    _route_uncaught()


def is_logged(level: str) -> bool:
    """Whether events of this level are written."""
    return structlog.processors.NAME_TO_LEVEL[level] >= _threshold.level


def direct_output() -> Output | None:
    """Return what takes finished lines of JSON; None while lines are for people."""
    return _direct.output


def without_secrets(text: str) -> str:
    """Return `text` with everything hidden that has the shape of a secret.

    A password that stands alone among other words has no shape.
    """
    if _SUSPICIOUS.search(text) is None:
        return text
    text = _API_KEY.sub(HIDDEN, _WEB_TOKEN.sub(HIDDEN, without_password(text)))
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _KEY.sub(HIDDEN, _NAMED.sub(_hidden_value, text))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide the values of secret keys and the secrets inside texts; a structlog processor."""
    hidden = {
        key: _public(key, value, depth=0)
        for key, value in event.items()
        # Written out for speed: most values are plain, and every request has its line.
        if _is_secret(key)
        or (type(value) not in _PLAIN and (type(value) is not str or _SUSPICIOUS.search(value)))
    }
    event.update(hidden)
    return event


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # a text without local variables
        redact,  # after all that could bring a secret: it also reads the traceback
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _is_json(chosen: str, *, is_terminal: bool) -> bool:
    return chosen == "json" or (chosen == "auto" and not is_terminal)


def _console_renderer(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )


def _json_renderer() -> Processor:
    return structlog.processors.JSONRenderer(serializer=_json)


def _json(event: EventDict, default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(event, default=default).decode()
    except TypeError:  # a number beyond 64 bits, or a text with half a character
        return json.dumps(event, default=default)


def _route_standard_library(renderer: Processor, stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_shared(),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)


def _route_uncaught() -> None:
    """Let what nobody catches go the same way; Python would print it as it is.

    Hooks that somebody else has taken, e.g. a test runner, stay theirs.
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


@functools.lru_cache(maxsize=1024)  # a program has only so many keys
def _is_secret(key: str) -> bool:
    return key not in _NOT_SECRET and _SECRET_KEY.search(key) is not None


def _public(key: str, value: Any, *, depth: int) -> Any:
    if _is_secret(key):
        return HIDDEN
    if isinstance(value, str):
        return without_secrets(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH:
        if isinstance(value, dict):
            return _public_mapping(value, depth=depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [_public("", item, depth=depth + 1) for item in value]
    return without_secrets(str(value) if isinstance(value, BaseException) else repr(value))


def _public_mapping(mapping: Mapping[Any, Any], *, depth: int) -> dict[str, Any]:
    return {str(key): _public(str(key), value, depth=depth) for key, value in mapping.items()}


def _hidden_value(found: re.Match[str]) -> str:
    name, sign = found["name"], found["sign"]
    return found[0] if name in _NOT_SECRET else f"{name}{sign}{HIDDEN}"
