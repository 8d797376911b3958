"""Parses account files (JSON, maFiles, ASF bot files, text: see `import_table`); adds accounts.

An entry is an account, or a problem with its line and the expected form. No problem repeats a value of
the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from actors.accounts.formats import bad_name, bad_shared_secret, canonical, folded
from actors.accounts.import_table import NAME, PASSWORD, SECRET, UNRECOGNISED, role_of, rows_of
from actors.accounts.store import AccountStore
from actors.errors import PasswordNeeded

LARGEST: Final = 16 * 1024 * 1024  # bytes of a file
MOST_PROBLEMS: Final = 1000  # after that the rest is not read
LONGEST_PASSWORD: Final = 256  # characters; Steam uses the first 64
# By byte order mark; those of UTF-32 come before those of UTF-16, which begin alike.
_ENCODINGS: Final[Mapping[bytes, str]] = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_PACKED: Final = {b"PK\x03\x04": "a spreadsheet or a ZIP archive", b"\x1f\x8b": "a gzip file"}
_ASF_FORMAT: Final = "PasswordFormat"  # of an ASF bot file; 0 is plain text
_JSON_SPACE: Final = " \t\r\n"
_OBJECT: Final = "expected an object with name and password, a maFile or an ASF bot file"
_MANIFEST: Final = "it is the manifest of an authenticator: import the maFiles beside it"


@dataclass(frozen=True, slots=True)
class NewAccount:
    """One valid entry. A maFile has no password: Redis or another file must have it."""

    name: str
    password: str | None = field(repr=False)
    shared_secret: str | None = field(default=None, repr=False)  # base64


@dataclass(frozen=True, slots=True)
class BadEntry:
    """One invalid entry, without secrets."""

    where: str  # e.g. "line 3"
    problem: str


@dataclass(frozen=True, slots=True)
class Import:
    """Content of files: accounts, or problems."""

    accounts: tuple[NewAccount, ...]
    problems: tuple[BadEntry, ...]


def read_accounts(files: Iterable[tuple[str, bytes]]) -> Import:
    """Read files that are imported together, each with its name ("" for the only one).

    Entries of one account are merged, e.g. of a list of passwords and of maFiles. Two passwords or two
    secrets of one account are a problem.
    """
    accounts: dict[str, tuple[str, NewAccount]] = {}
    problems = []
    for file, data in files:
        for place, found in _entries(data):
            where = f"{file}, {place}" if file else place
            if isinstance(found, str):
                problems.append(BadEntry(where, found))
                if len(problems) == MOST_PROBLEMS:
                    return Import((), tuple(problems))
                continue
            key = folded(found.name) or found.name
            first, known = accounts.get(key, (where, found))
            if (both := _together(known, found)) is not None:
                accounts[key] = first, both
            else:
                problem = f"{first} has the same account with another password or shared secret"
                problems.append(BadEntry(where, problem))
    if problems:
        return Import((), tuple(problems))
    return Import(tuple(account for _, account in accounts.values()), ())


def new_account(name: Any, password: Any, shared_secret: Any) -> NewAccount | BadEntry:
    """Return one account that is not from a file, or what is wrong with it."""
    shared_secret = shared_secret or None
    problem = bad_name(name) or _missing(password) or bad_shared_secret(shared_secret)
    if problem:
        return BadEntry("the account", problem)
    return NewAccount(name.strip(), password, shared_secret and canonical(shared_secret))


def _together(one: NewAccount, other: NewAccount) -> NewAccount | None:
    passwords = {one.password, other.password} - {None}
    secrets = {one.shared_secret, other.shared_secret} - {None}
    if len(passwords) > 1 or len(secrets) > 1:
        return None
    return NewAccount(one.name, next(iter(passwords), None), next(iter(secrets), None))


def _entries(data: bytes) -> Iterator[tuple[str, NewAccount | str]]:
    """Yield the place of each entry, and the account or the problem."""
    none = True
    try:
        text = _text_of(data)
        if text.lstrip()[:1] in ("{", "["):
            for number, value in enumerate(_values(text), start=1):
                none = False
                yield f"entry {number}", _of_object(value)
        else:
            for row in rows_of(text):
                none = False
                yield row.where, row.problem or _account(row.name, row.password, row.secret)
    except _Unusable as error:
        yield error.place, str(error)
        return
    if none:
        yield "the file", f"there is no account in it: {UNRECOGNISED}"


class _Unusable(Exception):
    """The file is unusable, as a whole or from `place` on."""

    def __init__(self, problem: str, place: str = "the file") -> None:
        self.place = place
        super().__init__(problem)


def _text_of(data: bytes) -> str:
    if len(data) > LARGEST:
        raise _Unusable(f"it is larger than {LARGEST >> 20} MiB: expected a list of accounts")
    for magic, what in _PACKED.items():
        if data.startswith(magic):
            raise _Unusable(f"it is {what}: expected text; save it as CSV, or unpack it")
    mark = next((mark for mark in _ENCODINGS if data.startswith(mark)), b"")
    try:
        text = data[len(mark) :].decode(_ENCODINGS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        place = f"line {data[: len(mark) + error.start].count(10) + 1}"
        raise _Unusable("it is not UTF-8 text: save the file as UTF-8", place) from None
    if "\0" in text or "\ufffd" in text:  # U+FFFD: an editor could not decode a character
        line = re.split("[\0\ufffd]", text, maxsplit=1)[0].count("\n") + 1
        raise _Unusable("it is not UTF-8 text: save the file as UTF-8", f"line {line}")
    if re.fullmatch(r"[A-Za-z0-9+/]{100,}={0,2}", text.strip()):
        raise _Unusable(
            "it looks like an encrypted maFile: remove the encryption in the authenticator first"
        )
    return text


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values that may be accounts: each value, or the items of a list or of `accounts`."""
    decoder, at = json.JSONDecoder(object_pairs_hook=_object), _after_space(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _Unusable(f"it is not JSON: {error.msg}", f"line {error.lineno}") from None
        except (ValueError, RecursionError):  # thousands of digits or of brackets
            raise _Unusable(f"it is no JSON of accounts: {_OBJECT}") from None
        at = _after_space(text, at)
        if isinstance(value, dict) and isinstance(value.get("accounts"), dict | list):
            value = value["accounts"]
            value = list(value.values()) if isinstance(value, dict) else value
        yield from value if isinstance(value, list) else [value]


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in _JSON_SPACE:
        at += 1
    return at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Unusable("a key stands twice in one JSON object: keep one")
    return values


def _of_object(value: Any) -> NewAccount | str:
    if not isinstance(value, dict):
        return _OBJECT
    if value.get(_ASF_FORMAT) not in (None, 0):
        return f"the password is encrypted: expected {_ASF_FORMAT} 0, with the password as text"
    values: dict[str, Any] = {}
    for key, its in value.items():
        role = role_of(key)
        if role is None or its is None:
            continue
        if role in values and values[role] != its:
            return f"several keys can be the {role}: keep one"
        values[role] = its
    if not values:
        return _MANIFEST if "entries" in value else _OBJECT
    if PASSWORD not in values and values.get(SECRET):  # a maFile
        return _account(values.get(NAME), None, values[SECRET], of_authenticator=True)
    return _account(values.get(NAME), values.get(PASSWORD), values.get(SECRET) or None)


def _account(
    name: Any, password: Any, shared_secret: Any, *, of_authenticator: bool = False
) -> NewAccount | str:
    problem = bad_name(name) or bad_shared_secret(shared_secret)
    if not of_authenticator:
        problem = problem or _missing(password) or _bad_password(password)
    if problem:
        return problem
    return NewAccount(name.strip(), password, shared_secret and canonical(shared_secret))


def _missing(password: Any) -> str | None:
    return None if isinstance(password, str) and password else "the password is missing"


def _bad_password(password: str) -> str | None:
    if len(password) > LONGEST_PASSWORD:
        return f"the password is longer than {LONGEST_PASSWORD} characters"
    if not password.isprintable():
        return "the password has a sign that is not printable, such as a line break: remove it"
    return None


async def add_all(store: AccountStore, accounts: Sequence[NewAccount]) -> tuple[str, ...]:
    """Add accounts, or change their passwords; return their stored names.

    Raises:
        PasswordNeeded: some have no password, here or in Redis; none is added.
        StoreUnavailable, StoreMisused: some may be added.
    """
    bare = [one.name for one in accounts if one.password is None]
    if bare and (lacking := await store.without_password(bare)):
        raise PasswordNeeded(lacking)
    return tuple([await store.add(one.name, one.password, one.shared_secret) for one in accounts])
