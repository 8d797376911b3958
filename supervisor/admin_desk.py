"""The parts behind the admin API, put together for the tree; like tree.py it sees both halves."""

from __future__ import annotations

import random
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.store import Accounts
from actors.actor import Address
from actors.bot_ports import Pacing
from actors.first_logon import ByHand
from actors.guard_desk import GuardDesk, SubmitGuard
from actors.http.access import AdminToken
from actors.steam.port import Directory, Steam
from supervisor.clock import SystemClock
from supervisor.settings import ConfigError

KEY = "http.admin_token_file"


def admin_token(file: Path | None) -> AdminToken | None:
    """Return the token in `file`; None, for no admin API, without a file.

    Raises:
        ConfigError: it cannot be read, or holds no usable token.
    """
    if file is None:
        return None
    try:
        return AdminToken(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(KEY, f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(KEY, f"{file} is not a text file") from None
    except ValueError as error:
        raise ConfigError(KEY, f"{error}; make one with: openssl rand -hex 24") from None


def guard_desk(
    address: Address[SubmitGuard],
    *,
    admin: AccountAdmin,
    store: Accounts,
    steam: Steam,
    directory: Directory,
    pacing: Pacing,
    instance: str,
    clock: SystemClock,
    log: FilteringBoundLogger,
) -> GuardDesk:
    """Return a desk that logs accounts on as `botapi accounts login` does."""
    by_hand = ByHand(
        admin=admin,
        store=store,
        steam=steam,
        directory=directory,
        pacing=pacing,
        clock=clock,
        rng=random.Random(),
        holder=f"{instance}/guard",
    )
    return GuardDesk(by_hand.log_on, address=address, clock=clock, log=log)
