"""Fakes of Steam, the account store and the log-on limiter, for unit tests in virtual time.

They record their calls in a `Script`, which also holds the errors and delays of a test.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from actors.accounts.logon_limiter import LogonLimiter, Wait
from actors.accounts.models import Lease
from actors.accounts.store import AccountStore
from actors.errors import LeaseLost, NoAccountFree, ServiceError
from actors.steam.directory import CmDirectory
from actors.steam.link import SteamNetwork
from actors.steam.port import (
    AuthSession,
    AuthState,
    Credential,
    GuardCallback,
    LinkListener,
    LoggedOn,
    Server,
    TransportKind,
)

SERVER = Server("cm:443", "cm", "127.0.0.1", 443, TransportKind.WEBSOCKET)
STEAM_ID = 7
FAR_FUTURE = 4_000_000_000.0  # UTC seconds


def refresh_token(**claims: Any) -> str:
    """Return a token as Steam issues it to `STEAM_ID`, with some `claims` replaced."""
    usual = {
        "iss": "steam",
        "sub": str(STEAM_ID),
        "aud": ["client", "web", "renew", "derive"],
        "exp": FAR_FUTURE,
    }
    text = json.dumps({**usual, **claims}).encode()
    return f"head.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.signature"


@dataclass
class Script:
    """Shared by all fakes of a test: `calls` in order, `errors` by call (each used once)."""

    calls: list[str] = field(default_factory=list)
    errors: dict[str, ServiceError] = field(default_factory=dict)
    held: dict[str, asyncio.Event] = field(default_factory=dict)  # calls that wait for the test
    resumed: list[AuthSession | None] = field(default_factory=list)  # with each `authenticate`

    async def do(self, call: str) -> None:
        self.calls.append(call)
        if (hold := self.held.get(call)) is not None:
            await hold.wait()
        if (error := self.errors.pop(call, None)) is not None:
            raise error


class FakeStore(AccountStore):
    """Accounts in memory, leased in order."""

    def __init__(self, script: Script, accounts: list[str]) -> None:
        self._script = script
        self._free = deque(accounts)
        self._tokens = 0
        self.auth: dict[str, AuthState] = {}
        self.cooldowns: dict[str, tuple[float, str]] = {}
        self.repeated: dict[str, float | None] = {}  # of the same cooldowns
        self.held: dict[str, int] = {}
        self.logged_on: list[str] = []
        self.avoid_marks: dict[str, tuple[float, str]] = {}

    def free(self, account: str) -> None:
        """Make the account available again, even while it is held."""
        self.held.pop(account, None)
        if account not in self._free:
            self._free.append(account)

    async def acquire(self, holder: str, *, before: str | None = None) -> Lease:
        await self._script.do("acquire")
        if before in self.held:
            return self._lease(before, holder)
        if not self._free:
            raise NoAccountFree(30.0, 30.0)
        return self._lease(self._free.popleft(), holder)

    def _lease(self, account: str, holder: str) -> Lease:
        self._tokens += 1
        self.held[account] = self._tokens
        return Lease(account, self._tokens, holder)

    async def renew(self, lease: Lease) -> bool:
        await self._script.do("renew")
        if self.held.get(lease.account) != lease.fencing_token:
            raise LeaseLost(lease.account, lease.fencing_token)
        return False

    async def release(self, lease: Lease) -> None:
        await self._script.do("release")
        if self.held.pop(lease.account, None) is not None:
            self._free.append(lease.account)

    async def cool_down(
        self, lease: Lease, seconds: float, reason: str, *, repeated_s: float | None = None
    ) -> None:
        await self._script.do("cool_down")
        self.cooldowns[lease.account] = (seconds, reason)
        self.repeated[lease.account] = repeated_s

    async def lift_cooldown(self, account: str, reason: str) -> None:
        await self._script.do("lift_cooldown")
        if self.cooldowns.get(account, (0.0, ""))[1] == reason:
            del self.cooldowns[account]

    def avoid(self, account: str, seconds: float, reason: str) -> None:
        self.avoid_marks[account] = (seconds, reason)

    async def note_logon(self, lease: Lease) -> None:
        if (error := self._script.errors.get("note_logon")) is not None:  # not used up
            raise error
        self.logged_on.append(lease.account)

    async def credential(self, lease: Lease) -> Credential:
        await self._script.do("credential")
        return Credential(lease.account, "pw")

    async def load_auth(self, lease: Lease) -> AuthState | None:
        await self._script.do("load_auth")
        return self.auth.get(lease.account)

    async def save_auth(self, lease: Lease, auth: AuthState) -> None:
        await self._script.do("save_auth")
        self.auth[lease.account] = auth

    async def forget_token(self, lease: Lease) -> None:
        await self._script.do("forget_token")
        if (auth := self.auth.get(lease.account)) is not None:
            self.auth[lease.account] = AuthState(auth.steam_id, "", auth.guard_data)


class FakeLink:
    """One connection; tests drop it through `listener`."""

    def __init__(self, script: Script, listener: LinkListener) -> None:
        self._script = script
        self.listener = listener
        self.fence_at = 0.0

    def set_fence(self, at: float) -> None:
        self.fence_at = at

    async def authenticate(
        self,
        credential: Credential,
        guard_data: str | None,
        on_guard: GuardCallback,
        *,
        timeout_s: float,
        resume: AuthSession | None = None,
    ) -> AuthState:
        del on_guard, timeout_s
        self._script.resumed.append(resume)
        await self._script.do("authenticate")
        return AuthState(7, f"token of {credential.account}", guard_data)

    async def log_on(self, account: str, auth: AuthState, *, timeout_s: float) -> LoggedOn:
        del account, timeout_s
        await self._script.do("log_on")
        return LoggedOn(auth.steam_id, "192.0.2.1", 5, 9.0, "192.0.2.1")

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        del timeout_s
        await self._script.do("renew_token")
        return AuthState(auth.steam_id, "newer token", auth.guard_data)

    async def launch(self, *, timeout_s: float) -> None:
        del timeout_s
        await self._script.do("launch")

    async def request_match(self, match_id: int, *, timeout_s: float, late_s: float = 0.0) -> bytes:
        del timeout_s, late_s
        await self._script.do(f"request {match_id}")
        return b"answer %d" % match_id

    async def request_profile(self, account_id: int, *, timeout_s: float) -> bytes:
        del timeout_s
        await self._script.do(f"profile {account_id}")
        return b"card %d" % account_id

    async def request_aliases(self, steam_ids: tuple[int, ...], *, timeout_s: float) -> bytes:
        del timeout_s
        await self._script.do(f"aliases {steam_ids}")
        return b"names of %d" % len(steam_ids)

    async def log_off(self, *, timeout_s: float) -> None:
        del timeout_s
        await self._script.do("log_off")

    async def close(self) -> None:
        await self._script.do("close")


class FakeSteam(SteamNetwork):
    """Opens fake links; `link` is the newest."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.link: FakeLink | None = None

    async def open(self, server: Server, listener: LinkListener, *, timeout_s: float) -> FakeLink:
        del server, timeout_s
        await self._script.do("open")
        self.link = FakeLink(self._script, listener)
        return self.link


class FakeLimiter(LogonLimiter):
    """Permits every log-on, unless the test sets waits."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.asked: list[bool] = []
        self.ips: list[str | None] = []
        self.limited = 0
        self.refunded: list[bool] = []
        self.error: ServiceError | None = None

    async def ask(self, *, with_password: bool) -> Wait | None:
        self.asked.append(with_password)
        if self.error is not None:
            raise self.error
        return self.waits.pop(0) if self.waits else None

    async def refund(self, *, with_password: bool) -> None:
        self.refunded.append(with_password)

    async def succeeded(self, ip: str | None) -> None:
        self.ips.append(ip)

    async def was_limited(self) -> Wait:
        self.limited += 1
        return Wait(2100.0, "rate-limit", "192.0.2.1")


class FakeDirectory(CmDirectory):
    """Has one CM."""

    def __init__(self, script: Script | None = None) -> None:
        self._script = script
        self.bad: list[Server] = []

    async def pick(self) -> Server:
        # Not recorded: tests only set its error.
        if (
            self._script is not None
            and (error := self._script.errors.pop("pick", None)) is not None
        ):
            raise error
        return SERVER

    def mark_bad(self, server: Server) -> None:
        self.bad.append(server)
