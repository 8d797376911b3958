"""Authentication sessions: exchange a password and a Steam Guard code for tokens.

A refusal is `AuthRefused` with Steam's result. Sessions, keys and codes expire by Steam's clock, which
may differ from this machine's.
"""

from __future__ import annotations

import base64
import binascii
import enum
import math
import random
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import padding

from sandbox.protocol import totp
from sandbox.protocol.eresult import EResult
from sandbox.steam.accounts import Account, Accounts
from sandbox.steam.keys import Keys
from sandbox.steam.tokens import Platform, Tokens

SESSION_LIFETIME_S: Final = 300.0
KEY_LIFETIME_S: Final = 300.0
_MAX_PASSWORD: Final = 64  # Steam compares the first 64 characters only (ASF)
_MAX_OPEN: Final = 10_000
_ROTATION_CHANCE: Final = 0.2
_CODE_ALPHABET: Final = "23456789BCDFGHJKMNPQRTVWXY"
_CODE_LENGTH: Final = 5


class Guard(enum.IntEnum):
    """EAuthSessionGuardType."""

    NONE = 1
    EMAIL_CODE = 2
    DEVICE_CODE = 3
    DEVICE_CONFIRMATION = 4


class AuthRefused(Exception):
    """Steam refuses; `eresult` is the result, which a fault may set to any number."""

    def __init__(self, eresult: int, reason: str = "") -> None:
        super().__init__(reason or f"EResult {int(eresult)}")
        self.eresult = eresult


@dataclass(slots=True)
class AuthSession:
    """One authentication in progress."""

    client_id: int
    request_id: bytes
    account: Account
    platform: Platform
    guards: tuple[Guard, ...]
    source: str
    started: float  # UTC seconds of Steam's clock
    approved: bool = False
    denied: bool = False
    used_code: bool = False

    def is_expired(self, now: float) -> bool:
        """Return whether the session is older than `SESSION_LIFETIME_S`."""
        return now - self.started > SESSION_LIFETIME_S


@dataclass(frozen=True, slots=True)
class Granted:
    """The tokens of an approved session, returned once."""

    account: Account
    refresh_token: str
    access_token: str
    guard_data: str | None
    guard: Guard


class Mailbox:
    """All Steam Guard mails, oldest first."""

    def __init__(self) -> None:
        self._mails: list[dict[str, Any]] = []

    def deliver(self, account: str, code: str) -> None:
        """Add the mail with a code."""
        self._mails.append({"account": account, "code": code, "t": time.time()})

    def read(self, account: str | None = None) -> list[dict[str, Any]]:
        """Return the mails of one account, or of all."""
        return [mail for mail in self._mails if account is None or mail["account"] == account]


class Authenticator:
    """All authentications in progress."""

    def __init__(
        self,
        keys: Keys,
        accounts: Accounts,
        tokens: Tokens,
        mailbox: Mailbox,
        rng: random.Random,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now`: Steam's time of day, in UTC seconds."""
        self._now = now
        self._key = keys.password
        self._accounts = accounts
        self._tokens = tokens
        self._mailbox = mailbox
        self._rng = rng
        self._issued: OrderedDict[int, tuple[str, float]] = OrderedDict()  # timestamp -> name, time
        self._open: OrderedDict[int, AuthSession] = OrderedDict()  # by client id
        self._last_step: dict[str, int] = {}  # account -> step of its last used TOTP code
        # account -> code -> time of the mail
        self._mailed: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def password_key(self, name: str) -> tuple[str, str, int]:
        """Return modulus and exponent (hex) and a new timestamp, also for unknown names."""
        numbers = self._key.public_key().public_numbers()
        timestamp = int(self._now() * 1000) * 1000 + self._rng.randrange(1000)
        while timestamp in self._issued:
            timestamp += 1
        self._issued[timestamp] = (name.casefold(), self._now())
        if len(self._issued) > _MAX_OPEN:
            self._issued.popitem(last=False)
        return f"{numbers.n:x}", f"{numbers.e:06x}", timestamp

    def begin(
        self,
        name: str,
        encrypted_password: str,
        timestamp: int,
        *,
        platform: Platform,
        guard_data: str | None,
        source: str,
    ) -> AuthSession:
        """Start an authentication with a password.

        Raises:
            AuthRefused: 8 for a timestamp that was not issued for this name, 5 for a wrong name or
                password.
        """
        owner, issued = self._issued.get(timestamp, ("", 0.0))
        if owner != name.casefold() or self._now() - issued > KEY_LIFETIME_S:
            raise AuthRefused(EResult.INVALID_PARAM, "bad encryption_timestamp")
        account = self._accounts.by_name(name)
        if not self._password_matches(encrypted_password, account) or account is None:
            raise AuthRefused(EResult.INVALID_PASSWORD)
        guards = self._guards(account, guard_data)
        code = self._new_code(account) if Guard.EMAIL_CODE in guards else None
        session = AuthSession(
            client_id=self._rng.getrandbits(63) | 1,
            request_id=self._rng.randbytes(16),
            account=account,
            platform=platform,
            guards=guards,
            source=source,
            started=self._now(),
            approved=guards == (Guard.NONE,),
        )
        self._open[session.client_id] = session
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        if code is not None:
            self._mailbox.deliver(account.name, code)
        return session

    def submit_code(self, client_id: int, steamid: int, code: str, code_type: int) -> AuthSession:
        """Check a Steam Guard code and approve the session.

        Raises:
            AuthRefused: 9 unknown session, 27 expired, 29 already approved, 8 a code type that was not
                offered, 65 or 88 wrong code.
        """
        session = self._open.get(client_id)
        if session is None or session.account.steamid != steamid:
            raise AuthRefused(EResult.FILE_NOT_FOUND)
        if session.is_expired(self._now()):
            raise AuthRefused(EResult.EXPIRED)
        if session.approved:
            raise AuthRefused(EResult.DUPLICATE_REQUEST)
        if code_type not in session.guards:
            raise AuthRefused(EResult.INVALID_PARAM)
        if code_type == Guard.EMAIL_CODE:
            # Valid in any session: node-steam-user uses the code of one Begin after the next one.
            mailed = self._mailed[session.account.name]
            if self._now() - mailed.get(code, -math.inf) > SESSION_LIFETIME_S:
                raise AuthRefused(EResult.INVALID_LOGIN_AUTH_CODE)
            mailed[code] = -math.inf  # valid once
        else:
            self._use_totp(session.account, code)
        session.approved = session.used_code = True
        return session

    def poll(self, client_id: int, request_id: bytes) -> Granted | int | None:
        """Return the tokens, a new client id for further calls, or None if not approved yet.

        Raises:
            AuthRefused: 9 unknown, consumed or denied, 27 expired.
        """
        session = self._open.get(client_id)
        if session is None or session.request_id != request_id:
            raise AuthRefused(EResult.FILE_NOT_FOUND)
        if session.denied:
            del self._open[client_id]
            raise AuthRefused(EResult.FILE_NOT_FOUND)
        if session.is_expired(self._now()):
            del self._open[client_id]
            raise AuthRefused(EResult.EXPIRED)
        if session.approved:
            del self._open[client_id]
            return self._grant(session)
        if self._rng.random() < _ROTATION_CHANCE:
            return self._rotate(session)
        return None

    def decide(self, name: str, *, approve: bool) -> int:
        """Approve or deny the account's waiting sessions, as in the mobile app; return their number."""
        waiting = [
            session
            for session in self._open.values()
            if session.account.name == name
            and Guard.DEVICE_CONFIRMATION in session.guards
            and not session.approved
        ]
        for session in waiting:
            session.approved, session.denied = approve, not approve
        return len(waiting)

    def _guards(self, account: Account, guard_data: str | None) -> tuple[Guard, ...]:
        if account.shared_secret is not None:
            return (Guard.DEVICE_CODE, Guard.DEVICE_CONFIRMATION)
        if account.email_code is None:
            return (Guard.NONE,)
        if guard_data and self._tokens.accepts_guard_data(guard_data, account):
            return (Guard.NONE,)
        return (Guard.EMAIL_CODE,)

    def _new_code(self, account: Account) -> str:
        """Return the code of the next mail: first the one of the accounts file, then new ones."""
        mailed = self._mailed[account.name]
        code = account.email_code
        if code is None or mailed:
            code = "".join(self._rng.choices(_CODE_ALPHABET, k=_CODE_LENGTH))
        mailed[code] = self._now()
        return code

    def _password_matches(self, encrypted: str, account: Account | None) -> bool:
        try:
            blob = base64.b64decode(encrypted, validate=True)
            password = self._key.decrypt(blob, padding.PKCS1v15())
        except (binascii.Error, ValueError):
            return False
        return (
            account is not None
            and password[:_MAX_PASSWORD] == (account.password.encode()[:_MAX_PASSWORD])
        )

    def _use_totp(self, account: Account, code: str) -> None:
        step = totp.matching_step(account.shared_secret or b"", code, self._now())
        # A used code invalidates itself and all older ones.
        if step is None or step <= self._last_step.get(account.name, 0):
            raise AuthRefused(EResult.TWO_FACTOR_CODE_MISMATCH)
        self._last_step[account.name] = step

    def _grant(self, session: AuthSession) -> Granted:
        account = session.account
        refresh = self._tokens.issue_refresh(account, session.source, session.platform)
        is_new_machine = Guard.EMAIL_CODE in session.guards
        wants_guard_data = is_new_machine and session.platform is Platform.STEAM_CLIENT
        return Granted(
            account=account,
            refresh_token=refresh,
            access_token=self._tokens.issue_access(refresh, session.source),
            guard_data=self._tokens.issue_guard_data(account) if wants_guard_data else None,
            guard=session.guards[0],
        )

    def _rotate(self, session: AuthSession) -> int:
        del self._open[session.client_id]
        session.client_id = self._rng.getrandbits(63) | 1
        self._open[session.client_id] = session
        return session.client_id
