"""Accounts out of files as people have them: JSON, CSV, or a line `name:password` each. Pure text."""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from actors.accounts.names import bad_name


@dataclass(frozen=True, slots=True)
class NewAccount:
    """One good entry."""

    name: str
    password: str = field(repr=False)
    shared_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BadEntry:
    """One entry that cannot be used; never repeats a secret."""

    where: str  # e.g. "line 3"
    problem: str


def parse_accounts(text: str) -> Iterator[NewAccount | BadEntry]:
    """Yield every entry of a file, good or bad, in order.

    The form is recognised by the beginning: `[` is JSON (a list of objects with name, password and
    optional shared_secret), a header line with `name` and `password` is CSV, everything else is
    `name:password`.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("["):
        yield from _from_json(text)
        return
    head = text.lstrip("\n\r ").partition("\n")[0]
    columns = {column.strip().lower() for column in head.split(",")}
    yield from (_from_csv(text) if {"name", "password"} <= columns else _from_lines(text))


def _from_json(text: str) -> Iterator[NewAccount | BadEntry]:
    try:
        entries = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        yield BadEntry(f"line {error.lineno}", f"not JSON: {error.msg}")
        return
    for number, entry in enumerate(entries, start=1):
        where = f"entry {number}"
        if not isinstance(entry, dict):
            yield BadEntry(where, "not an object with name and password")
        else:
            yield _entry(
                where, entry.get("name"), entry.get("password"), entry.get("shared_secret")
            )


def _from_csv(text: str) -> Iterator[NewAccount | BadEntry]:
    reader = csv.DictReader(io.StringIO(text.lstrip("\n\r ")), skipinitialspace=True)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    for row in reader:
        where = f"line {reader.line_num}"
        yield _entry(where, row.get("name"), row.get("password"), row.get("shared_secret") or None)


def _from_lines(text: str) -> Iterator[NewAccount | BadEntry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, password = line.strip().partition(":")
        if colon:
            yield _entry(f"line {number}", name, password, None)
        else:
            yield BadEntry(f"line {number}", "there is no colon between name and password")


def new_account(name: Any, password: Any, shared_secret: Any) -> NewAccount | BadEntry:
    """Return one account that was not in a file, or what is wrong with it."""
    return _entry("the account", name, password, shared_secret or None)


def _entry(where: str, name: Any, password: Any, shared_secret: Any) -> NewAccount | BadEntry:
    problem = bad_name(name) or _bad_password(password) or bad_shared_secret(shared_secret)
    if problem:
        return BadEntry(where, problem)
    return NewAccount(name.strip(), password, shared_secret)


def _bad_password(password: Any) -> str | None:
    if not isinstance(password, str) or not password:
        return "the password is missing"
    return None


def bad_shared_secret(secret: Any) -> str | None:
    """Say what is wrong with a shared secret, if there is one and anything is."""
    if secret is None:
        return None
    try:
        usable = isinstance(secret, str) and base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        usable = False
    return None if usable else "the shared secret is not base64"
