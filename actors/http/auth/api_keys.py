"""API keys: how a request shows one, their file, and the lookup of a key.

The file has one line per key, empty lines and ``#`` comments::

    NAME sha256:HEX [per-minute=N] [burst=N] [priority=N] [refresh]

The file holds hashes, never a key. Plain SHA-256 is right for that: a key is 256 random bits, so a
brute-force search cannot find it. Slow salted hashes are for passwords, which people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import hdrs, web
from multidict import istr

from actors.http.auth.clients import Client, Rate

KEY_HEADER: Final = istr("X-API-Key")
# OpenDota's retriever takes its API key from the query, so its routes do too. No other route does:
# proxies log queries.
QUERY_KEY: Final = "key"
QUERY_KEY_PREFIXES: Final = ("/match/", "/profile/", "/aliases/")
PREFIX: Final = "botapi_"  # people and scanners for leaked secrets recognise it
RANDOM_BYTES: Final = 32
SCHEME: Final = "sha256:"
REFRESH: Final = "refresh"
LOOKUP_BYTES: Final = 8  # of the hash, by which a key is looked up
MOST_PER_MINUTE: Final = 1_000_000.0
MOST_BURST: Final = 1_000_000
MOST_PRIORITY: Final = 100

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
NAME_RULE: Final = "1 to 64 of the characters A-Z a-z 0-9 . _ @ -, a letter or digit first"


def bearer_token(header: str | None) -> str | None:
    """Return the token in an Authorization header, or None.

    The name of a scheme is case-insensitive (RFC 9110, section 11.1).
    """
    if header is None:
        return None
    scheme, space, token = header.partition(" ")
    return token.strip() if space and scheme.lower() == "bearer" else None


def shown_key(request: web.Request) -> str | None:
    """Return the API key that a request shows, valid or not, or None."""
    token = bearer_token(request.headers.get(hdrs.AUTHORIZATION))
    if token is not None:
        return token
    key = request.headers.get(KEY_HEADER)
    if key is None and request.path.startswith(QUERY_KEY_PREFIXES):
        return request.query.get(QUERY_KEY)
    return key


def digest_of(secret: str) -> bytes:
    """Return the hash of a secret; the process keeps and compares only hashes."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: its client and its rate."""

    client: Client
    digest: bytes = field(repr=False)
    rate: Rate | None = None  # None: no limit

    @property
    def line(self) -> str:
        """Return the key's line in the file."""
        words = [self.client.name, SCHEME + self.digest.hex()]
        if self.rate is not None:
            words += [f"per-minute={self.rate.per_minute:g}", f"burst={self.rate.burst}"]
        if self.client.priority:
            words.append(f"priority={self.client.priority}")
        if self.client.may_refresh:
            words.append(REFRESH)
        return " ".join(words)


class BadKeys(ValueError):
    """The keys file is invalid; the text is one line and contains no whole hash."""


class KeyRing:
    """The keys in effect."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[ApiKey]) -> None:
        """Replace all keys."""
        self._keys = {key.digest[:LOOKUP_BYTES]: key for key in keys}

    def find(self, shown: str) -> ApiKey | None:
        """Return the key whose secret is `shown`, or None."""
        digest = digest_of(shown)
        # The time of the lookup depends on a hash that a client cannot choose; the comparison takes
        # constant time.
        key = self._keys.get(digest[:LOOKUP_BYTES])
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None


def new_key() -> str:
    """Return a new random key."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def is_name(text: str) -> bool:
    """Return whether `text` is a valid name of a key."""
    return _NAME.fullmatch(text) is not None


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Parse a keys file.

    Raises:
        BadKeys: names the line and the problem.
    """
    keys: list[ApiKey] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        try:
            keys += [_key(words)] if words else []
        except BadKeys as problem:
            raise BadKeys(f"line {number}: {problem}") from None
    _refuse_duplicates("called", [key.client.name for key in keys])
    _refuse_duplicates("with the hash", [f"{SCHEME}{key.digest.hex()[:8]}..." for key in keys])
    return tuple(keys)


def without_key(text: str, name: str) -> str:
    """Return a file's text without the line of the key `name`."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.partition("#")[0].split()[:1] != [name])


def _refuse_duplicates(what: str, values: list[str]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise BadKeys(f"there are {count} keys {what} {value}")


def _key(words: list[str]) -> ApiKey:
    name, *rest = words
    if not is_name(name):
        raise BadKeys(f"a name is {NAME_RULE}")
    if not rest or not _DIGEST.fullmatch(rest[0]):
        raise BadKeys(f"{name} needs {SCHEME} and 64 hex digits; make a key with: botapi keys add")
    options = _options(name, rest[1:])
    per_minute, burst = options.get("per-minute"), options.get("burst")
    if per_minute is None and burst is not None:
        raise BadKeys(f"{name} has a burst but no per-minute")
    return ApiKey(
        client=Client(name, options.get("priority", 0), options.get(REFRESH, False)),
        digest=bytes.fromhex(rest[0].removeprefix(SCHEME)),
        rate=None if per_minute is None else Rate.of(per_minute, burst),
    )


def _options(name: str, words: Iterable[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in words:
        option, _, value = word.partition("=")
        if option not in _OPTIONS or option in options:
            raise BadKeys(f'{name}: "{option}" is unknown or twice there; {_KNOWN}')
        read, wanted = _OPTIONS[option]
        try:
            options[option] = read(value)
        except ValueError:
            raise BadKeys(f"{name}: {option} {wanted}") from None
    return options


def _number(low: float, high: float, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return read


def _flag(text: str) -> bool:
    if text:
        raise ValueError(text)
    return True


# Name -> reader of the value, which raises ValueError, and what the value is.
_OPTIONS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "per-minute": (
        _number(0.001, MOST_PER_MINUTE, float),
        f"is a number from 0.001 to {MOST_PER_MINUTE:g}",
    ),
    "burst": (_number(1, MOST_BURST, int), f"is a whole number from 1 to {MOST_BURST}"),
    "priority": (
        _number(-MOST_PRIORITY, MOST_PRIORITY, int),
        f"is a whole number from {-MOST_PRIORITY} to {MOST_PRIORITY}",
    ),
    REFRESH: (_flag, "takes no value"),
}
_KNOWN: Final = "there is per-minute=N, burst=N, priority=N and refresh"
