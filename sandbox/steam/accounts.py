"""Accounts of the simulated Steam, and the accounts file."""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

INDIVIDUAL: Final = 0x0110000100000000  # SteamID64 of account id 0: universe 1, type 1, instance 1
_DEFAULT_LIFETIME_S: Final = 200 * 86400.0


class AccountsError(ValueError):
    """The accounts file is invalid; the text names the entry and the reason."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `email_code` and `shared_secret` turn on that kind of Steam Guard."""

    name: str
    password: str = field(repr=False)
    account_id: int
    shared_secret: bytes | None = field(default=None, repr=False)
    email_code: str | None = field(default=None, repr=False)
    disabled: bool = False
    locked: bool = False
    needs_ssa: bool = False  # must accept the subscriber agreement first
    no_license: bool = False  # does not own Dota 2 until it requests the free licence
    token_lifetime_s: float = _DEFAULT_LIFETIME_S

    @property
    def steamid(self) -> int:
        """The account's SteamID64."""
        return INDIVIDUAL + self.account_id


class Accounts:
    """All accounts, by name (case-insensitive, as at Steam) and by SteamID64."""

    def __init__(self, accounts: list[Account]) -> None:
        self._by_name = {account.name.casefold(): account for account in accounts}
        self._by_steamid = {account.steamid: account for account in accounts}
        if len(self._by_name) != len(accounts) or len(self._by_steamid) != len(accounts):
            raise AccountsError("two accounts share a name or an account_id")

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())

    def by_name(self, name: str) -> Account | None:
        """Return the account of that name."""
        return self._by_name.get(name.casefold())

    def by_steamid(self, steamid: int) -> Account | None:
        """Return the account of that SteamID64."""
        return self._by_steamid.get(steamid)


_TEXTS: Final = ("name", "password", "shared_secret", "email_code")
_FLAGS: Final = ("disabled", "locked", "needs_ssa", "no_license")
_NUMBERS: Final = ("account_id", "token_lifetime_s")


def load(path: Path) -> Accounts:
    """Read the accounts file: a JSON list of objects with the keys of `Account`.

    Raises:
        AccountsError: the file cannot be read, is not JSON or has an invalid entry.
    """
    try:
        entries = orjson.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise AccountsError(f"cannot read {path}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise AccountsError(f"{path} is not JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise AccountsError(f"{path} must be a JSON list with at least one account")
    return Accounts([_account(entry, f"{path}, entry {n}") for n, entry in enumerate(entries, 1)])


def _account(entry: Any, where: str) -> Account:
    if not isinstance(entry, dict):
        raise AccountsError(f"{where}: must be an object")
    for key, value in entry.items():
        _check(key, value, where)
    if not entry.get("name") or not entry.get("password"):
        raise AccountsError(f"{where}: name and password are required")
    values = {key: value for key, value in entry.items() if value is not None}
    if "shared_secret" in values:
        values["shared_secret"] = _secret(values["shared_secret"], where)
    values.setdefault("account_id", account_id_of(values["name"]))
    return Account(**values)


def _check(key: str, value: Any, where: str) -> None:
    if key in _TEXTS:
        is_valid, expected = value is None or isinstance(value, str), "a text"
    elif key in _FLAGS:
        is_valid, expected = isinstance(value, bool), "true or false"
    elif key in _NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_valid, expected = is_number and value > 0, "a number above 0"
    else:
        raise AccountsError(f"{where}: unknown key {key!r}")
    if not is_valid:
        raise AccountsError(f"{where}: {key} must be {expected}")


def _secret(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AccountsError(f"{where}: shared_secret is not base64") from error


def account_id_of(name: str) -> int:
    """Return a stable 30-bit account id for a name."""
    return int.from_bytes(hashlib.sha256(name.casefold().encode()).digest()[:4], "big") >> 2 | 1
