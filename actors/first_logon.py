"""One log-on by hand: a person brings a Steam Guard code, and bots use the token from then on."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from typing import Final, Protocol

from actors.accounts.lease import Lease
from actors.bot_ports import Pacing
from actors.clock import Clock
from actors.errors import AccountError, LogOnRefused, SteamUnreachable
from actors.log_on_turn import refunded_unless_reached
from actors.logon import KeepsAuth, LogOn, LogOnTimeouts
from actors.steam.port import AuthState, Directory, GuardCallback, LinkEvent, LoggedOn, Steam
from actors.verdicts import STOPS_IP, judge

PERSON_S: Final = 600.0  # to find the mail, the phone or the glasses
LEASE_S: Final = 900.0  # never renewed: a person, and what comes before and after
MARGIN_S: Final = 8.0  # of it, for the log-off
CONNECT_S: Final = 15.0
LOG_OFF_S: Final = 4.0
TURN_JITTER_S: Final = 0.5


class GivesBack(KeepsAuth, Protocol):
    """What this needs of the store."""

    async def release(self, lease: Lease) -> None:
        """Give the account back."""


class TakesByName(Protocol):
    """What this needs of the operator's view of the accounts."""

    async def take(self, account: str, holder: str, *, lease_s: float) -> Lease:
        """Check out one account. Raises NoSuchAccount or AccountInUse."""


@dataclass(frozen=True, slots=True)
class ByHand:
    """Logs accounts on for people. `holder`: who is named as using the account meanwhile."""

    admin: TakesByName
    store: GivesBack
    steam: Steam
    directory: Directory
    pacing: Pacing
    clock: Clock
    rng: random.Random
    holder: str

    async def log_on(self, account: str, on_guard: GuardCallback) -> LoggedOn:
        """Log on with the password, keep what Steam gives, log off, give the account back.

        Raises:
            SteamError, AccountError: why it did not work; the account is given back all the same.
        """
        fence_at = self.clock.now() + LEASE_S - MARGIN_S
        lease = await self.admin.take(account, f"{self.holder}/{account}", lease_s=LEASE_S)
        try:
            await self._wait_for_turn()
            logged_on = await self._once(lease, on_guard, fence_at)
            with contextlib.suppress(AccountError):  # a note; what counts is stored
                await self.pacing.succeeded(logged_on.public_ip)
        except LogOnRefused as refused:
            if judge(refused) in STOPS_IP:
                await self.pacing.was_limited()
            raise
        else:
            return logged_on
        finally:
            await self.store.release(lease)

    async def _wait_for_turn(self) -> None:
        """A person is as polite to Steam as a bot.

        Raises:
            SteamUnreachable: Steam has had enough of our address for a while.
        """
        while (wait := await self.pacing.ask(with_password=True)) is not None:
            if wait.reason == "rate-limit":
                minutes = wait.seconds / 60
                raise SteamUnreachable(
                    "logon", f"too many log-ons from here; try again in {minutes:.0f} minutes"
                )
            await self.clock.sleep(wait.seconds + self.rng.random() * TURN_JITTER_S)

    async def _once(self, lease: Lease, on_guard: GuardCallback, fence_at: float) -> LoggedOn:
        stored = await self.store.load_auth(lease)
        # The token that is stored stays until there is a newer one; here it just is not used.
        auth = stored and AuthState(stored.steam_id, "", stored.guard_data)
        async with refunded_unless_reached(self.pacing, with_password=True):
            server = await self.directory.pick()
            link = await self.steam.open(server, _nothing, timeout_s=CONNECT_S)
        try:
            link.set_fence(fence_at)
            timeouts = LogOnTimeouts(credentials_s=PERSON_S)
            log_on = LogOn(self.store, on_guard, clock=self.clock, timeouts=timeouts)
            logged_on, _ = await log_on.run(link, lease, auth)
            with contextlib.suppress(AccountError):  # as above
                await self.store.note_logon(lease)
            await link.log_off(timeout_s=LOG_OFF_S)
            return logged_on
        finally:
            await link.close()


def _nothing(_event: LinkEvent) -> None:
    """Whatever happens to the link is seen by who waits for it."""
