"""Redaction of secrets and control characters in log events and texts."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

from supervisor.config.errors import without_password

HIDDEN: Final = "***"

# Every pattern takes linear time, whatever the text is: runs of characters are possessive (`++`), and a
# pattern that looks for something inside a run begins only where a run does.
_NAMES: Final = (
    r"passw(?:or)?d|pass(?:phrase|code)|(?<![^\W_])pass(?![^\W_])|pwd|token|secret|credential"
    r"|(?:api|private)[_-]?key|(?:auth|guard|two[_-]?factor|revocation)[_-]?code|guard[_-]?data"
    r"|botapi_session|steamlogin"
)
_SECRET_KEY: Final = re.compile(rf"{_NAMES}|authorization|cookie", re.IGNORECASE)
# A number that orders the holders of a lease, not a secret.
_NOT_SECRET: Final = frozenset({"fencing_token"})
# Steam's refresh and access tokens are JSON Web Tokens, whose header always begins with `{"`.
_WEB_TOKEN: Final = re.compile(
    r"(?<![\w-])(?=[\w-]++\.[\w-])(?P<before>[\w-]*?)(?<![^\W_])eyJ[\w-]{4,}+\.[\w-]++(?:\.[\w-]*+)?"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s++[\w.~+/=-]+")
# The header as it is sent.
_COOKIES: Final = re.compile(r"(?i)\b((?:set-)?cookie:[ \t]*+)[^\r\n]++")
# Base64 of 20 bytes, as Steam's shared secrets are, or of 32, as keys are.
_KEY: Final = re.compile(r"(?<![\w+/=-])(?:[\w+/-]{27}|[\w+/-]{43})=(?![\w=])")
# An API key of this service.
_API_KEY: Final = re.compile(r"botapi_[\w-]{20,}+")
# password='x' of a repr, {'password': 'x'} of a dict, password=x of a query; `x = y` of code passes.
# A quoted value without its closing quote, as in a cut text, extends to the end of the line.
_NAMED: Final = re.compile(
    rf"""(?ix) (?<![\w-]) (?= [\w-]*? (?:{_NAMES}) ) (?P<name> [\w-]++ )
    (?P<sign> ["']? (?: = | \s*+[:=]\s*+ (?=["']) ) )
    (?: "(?:[^"\\]|\\.)*+" | '(?:[^'\\]|\\.)*+' | ["'][^\n]*+ | [^\s"'&,;()\[\]{{}}]++ )"""
)
# Each of the above needs one of these signs, "eyJ" or "botapi_"; none matches letters and digits alone.
_SIGNS: Final = re.compile(r"[=:@\s]")
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_MAX_DEPTH: Final = 6  # of nested values; deeper ones become a text
LONGEST: Final = 32_768  # characters of one value; the rest is neither searched nor written
_LONGEST_WORD: Final = 512  # characters at the end of a cut value that may be part of a secret


def without_secrets(text: str) -> str:
    """Return `text` with everything hidden that has the shape of a secret, in linear time.

    A password without a name before it has no such shape.
    """
    if not _is_suspicious(text):
        return text
    text = _WEB_TOKEN.sub(rf"\g<before>{HIDDEN}", without_password(text))
    text = _BEARER.sub(rf"\1 {HIDDEN}", _API_KEY.sub(HIDDEN, text))
    text = _COOKIES.sub(rf"\1{HIDDEN}", text)
    return _KEY.sub(HIDDEN, _NAMED.sub(_hidden_value, text))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide the values of secret keys and the secrets inside texts; a structlog processor."""
    hidden = {
        key: _public(key, value, depth=0)
        for key, value in event.items()
        # Inlined for speed: most values are plain, and every request has a line.
        if _is_secret(key)
        or (
            type(value) not in _PLAIN
            and (type(value) is not str or len(value) > LONGEST or _is_suspicious(value))
        )
    }
    if hidden:
        event.update(hidden)
    return event


def _is_suspicious(text: str) -> bool:
    """Return whether one of the patterns may match; much cheaper than the patterns."""
    return not text.isalnum() and (
        _SIGNS.search(text) is not None or "eyJ" in text or "botapi_" in text
    )


def for_terminal(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace control characters in texts, which may come from a client; a structlog processor."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = printable_lines(value)
    return event


@functools.lru_cache(maxsize=1024)  # more than the program has keys
def _is_secret(key: str) -> bool:
    return key not in _NOT_SECRET and _SECRET_KEY.search(key) is not None


def _public(key: str, value: Any, *, depth: int) -> Any:
    if _is_secret(key):
        return HIDDEN
    if isinstance(value, str):
        return without_secrets(cut(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH:
        if isinstance(value, dict):
            return _public_mapping(value, depth=depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [_public("", item, depth=depth + 1) for item in value]
    return without_secrets(cut(str(value) if isinstance(value, BaseException) else repr(value)))


def cut(text: str) -> str:
    """Return at most `LONGEST` characters of `text`, without the part of a word at the cut."""
    if len(text) <= LONGEST:
        return text
    end = max(text.rfind(space, LONGEST - _LONGEST_WORD, LONGEST) for space in " \n")
    kept = text[: end if end >= 0 else LONGEST - _LONGEST_WORD]
    return f"{kept}... ({len(text) - len(kept)} more characters)"


def _public_mapping(mapping: Mapping[Any, Any], *, depth: int) -> dict[str, Any]:
    return {str(key): _public(str(key), value, depth=depth) for key, value in mapping.items()}


def _hidden_value(found: re.Match[str]) -> str:
    name, sign = found["name"], found["sign"]
    return found[0] if name in _NOT_SECRET else f"{name}{sign}{HIDDEN}"


def printable(text: object) -> str:
    """Return `text` without control characters, so that names of others cannot control a terminal."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text))


def printable_lines(text: str) -> str:
    """Return `text` without control characters, except line feeds."""
    return "\n".join(map(printable, text.split("\n")))
