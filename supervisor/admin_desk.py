"""The parts behind the admin API, put together for the tree; like tree.py it sees both halves."""

from __future__ import annotations

import random
import stat
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.admin import AccountAdmin
from actors.accounts.store import Accounts
from actors.actor import Address
from actors.bot_ports import Pacing
from actors.first_logon import ByHand
from actors.guard_desk import GuardDesk, SubmitGuard
from actors.http.access import AdminToken, new_token
from actors.steam.port import Directory, Steam
from supervisor.clock import SystemClock
from supervisor.private_file import keep_private, write_once
from supervisor.settings import ConfigError, Settings

KEY: Final = "http.admin_token_file"
DATA_DIR: Final = "redis.data_dir"
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def admin_token(settings: Settings, *, log: FilteringBoundLogger) -> AdminToken | None:
    """Return the token in the file that the settings name; else in our own, made if need be.

    None, for no admin API, where none is named and our own cannot be read or written.

    Raises:
        ConfigError: the file cannot be read, or holds no usable token.
    """
    named, own = settings.http.admin_token_file, settings.own_token_file
    try:
        return _token_in(named or _own_file(own, log), log)
    except OSError as error:
        problem = f"{error.filename or own} cannot be used: {error.strerror}"
        if named is None:
            log.warning("admin_api_off", reason=f"{KEY} is not set, and {problem}")
            return None
        raise ConfigError(KEY, problem) from None
    except ValueError as error:
        remedy = "make one with: openssl rand -hex 24" if named else f"delete {own}"
        if isinstance(error, UnicodeDecodeError):
            error = ValueError("it is not a text file")
        raise ConfigError(KEY if named else "", f"{named or own}: {error}; {remedy}") from None


def _token_in(file: Path, log: FilteringBoundLogger) -> AdminToken:
    token = AdminToken(file.read_text("utf-8-sig"))
    if file.stat().st_mode & OTHERS:
        log.warning("admin_token_exposed", file=str(file), reason="others may read it: chmod 600")
    return token


def _own_file(file: Path, log: FilteringBoundLogger) -> Path:
    """Return the file with our own token, made if it is not there yet."""
    if write_once(file, new_token() + "\n"):
        log.info("admin_token_made", file=str(file))
    keep_private(file)
    return file


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
