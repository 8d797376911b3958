"""One log-on by hand: a person is there to type a Steam Guard code, and bots use the token."""

from __future__ import annotations

from typing import Final, Protocol

from actors.accounts.lease import Lease
from actors.clock import Clock
from actors.logon import KeepsAuth, LogOn, LogOnTimeouts
from actors.steam.port import Directory, GuardCallback, LinkEvent, LoggedOn, Steam

PERSON_S: Final = 600.0  # to find the mail, the phone or the glasses
CONNECT_S: Final = 15.0
LOG_OFF_S: Final = 4.0


class GivesBack(KeepsAuth, Protocol):
    """What this needs of the store."""

    async def note_logon(self, lease: Lease) -> None:
        """Remember when the account was logged on last."""

    async def release(self, lease: Lease) -> None:
        """Give the account back."""


async def log_on_once(
    lease: Lease,
    *,
    store: GivesBack,
    steam: Steam,
    directory: Directory,
    on_guard: GuardCallback,
    clock: Clock,
) -> LoggedOn:
    """Log on with the password, keep what Steam gives, log off, give the account back.

    Raises:
        SteamError, AccountError: why it did not work; the account is given back all the same.
    """
    try:
        auth = await store.load_auth(lease)
        if auth is not None and auth.refresh_token:
            await store.forget_token(lease)
            auth = await store.load_auth(lease)
        link = await steam.open(await directory.pick(), _nothing, timeout_s=CONNECT_S)
        try:
            timeouts = LogOnTimeouts(credentials_s=PERSON_S)
            log_on = LogOn(store, on_guard, clock=clock, timeouts=timeouts)
            logged_on, _ = await log_on.run(link, lease, auth)
            await store.note_logon(lease)
            await link.log_off(timeout_s=LOG_OFF_S)
            return logged_on
        finally:
            await link.close()
    finally:
        await store.release(lease)


def _nothing(_event: LinkEvent) -> None:
    """Whatever happens to the link is seen by who waits for it."""
