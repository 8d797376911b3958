"""Actions on a running sandbox, each from one JSON object.

The control API does one deed per request; a scenario does a list of them over time.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sandbox.gc import gc
from sandbox.network.connection import DropMode
from sandbox.network.corruption import Corruption
from sandbox.protocol.emsg import EMsg
from sandbox.steam import post_logon
from sandbox.steam.accounts import Account
from sandbox.steam.context import Context
from sandbox.steam.session import Session, Sessions, Stage

Json = dict[str, Any]


class ActionError(ValueError):
    """The object does not say what to do; the text says what is wrong with it."""


class Actions:
    """Everything that can be done.

    Args:
        services: whose switches and sets are changed.
        sessions: on whom it is done.
        apply_faults: does at once what changed switches demand of servers.
    """

    def __init__(
        self, services: Context, sessions: Sessions, apply_faults: Callable[[], Awaitable[None]]
    ) -> None:
        self._services = services
        self._sessions = sessions
        self._apply_faults = apply_faults
        self.table: Final[Mapping[str, Callable[[Json], Awaitable[Json]]]] = {
            "faults": self.set_faults,
            "clear": self.clear_faults,
            "drop": self.drop,
            "log_off": self.log_off,
            "push": self.push,
            "corrupt": self.corrupt,
            "revoke": self.revoke,
            "decide": self.decide,
            "quota": self.quota,
            "not_found": self.not_found,
            "blocked": self.blocked,
            "no_replay": self.no_replay,
        }

    async def set_faults(self, body: Json) -> Json:
        """Set switches."""
        self._services.faults.set(body)
        return await self._changed()

    async def clear_faults(self, body: Json) -> Json:
        """Switch off the switches in `names`, or all."""
        self._services.faults.clear(frozenset(body.get("names", ())))
        return await self._changed()

    async def drop(self, body: Json) -> Json:
        """Break connections."""
        try:
            mode = DropMode(body.get("mode", "close"))
        except ValueError as error:
            raise ActionError(f"mode is one of {', '.join(DropMode)}") from error
        chosen = self._chosen(body)
        for session in chosen:
            session.drop(mode)
        self._services.journal.add("connections_dropped", count=len(chosen), mode=mode)
        return {"dropped": len(chosen)}

    async def log_off(self, body: Json) -> Json:
        """Log sessions off with `eresult`."""
        chosen = [one for one in self._chosen(body) if one.stage is Stage.LOGGED_ON]
        for session in chosen:
            session.log_off(_int(body, "eresult", 2), "control")
        return {"logged_off": len(chosen)}

    async def push(self, body: Json) -> Json:
        """Send something unasked: `what` is one of the keys of the table below."""
        pushes: dict[str, Callable[[Session], None]] = {
            "server_unavailable": _server_unavailable,
            "gc_status": lambda session: gc.send_status(session, _int(body, "status", 2), body),
            "gc_welcome": gc.welcome_unasked,
            "unknown": _unknown,
        }
        push = pushes.get(str(body.get("what")))
        if push is None:
            raise ActionError(f"what is one of {', '.join(pushes)}")
        chosen = [one for one in self._chosen(body) if one.stage is Stage.LOGGED_ON]
        for session in chosen:
            push(session)
        return {"pushed": len(chosen)}

    async def corrupt(self, body: Json) -> Json:
        """Send bytes that are wrong in the way `flaw` says."""
        try:
            flaw = Corruption(body.get("flaw", ""))
        except ValueError as error:
            raise ActionError(f"flaw is one of {', '.join(Corruption)}") from error
        chosen = self._chosen(body)
        for session in chosen:
            session.link.send_flawed(flaw)
        return {"corrupted": len(chosen)}

    async def revoke(self, body: Json) -> Json:
        """Kill an account's tokens; with `log_off`, end its sessions with that result too."""
        account = self._account(body)
        self._services.tokens.revoke_all(account)
        self._services.journal.add("tokens_revoked", account=account.name)
        if "log_off" in body:
            for session in self._sessions.of(account.name):
                session.log_off(_int(body, "log_off", 26), "revoked")
        return {"revoked": account.name}

    async def decide(self, body: Json) -> Json:
        """Approve or deny waiting logins of an account in the owner's app."""
        approve = bool(body.get("approve", True))
        name = self._account(body).name
        return {"decided": self._services.authenticator.decide(name, approve=approve)}

    async def quota(self, body: Json) -> Json:
        """Change limits, move Steam's clock (tokens and codes too), or forget what was spent."""
        quotas, calendar = self._services.quotas, self._services.calendar
        cards = self._services.card_quotas
        quotas.per_account = _int(body, "account", quotas.per_account)
        quotas.per_ip = _int(body, "ip", quotas.per_ip)
        cards.per_account = _int(body, "cards", cards.per_account)
        calendar.advance(float(body.get("advance_s", 0.0)))
        if body.get("reset"):
            quotas.reset()
            cards.reset()
        used = quotas.used(calendar.now())
        return {"account": quotas.per_account, "ip": quotas.per_ip, "used": used}

    async def not_found(self, body: Json) -> Json:
        """Let match ids disappear (`add`) or come back (`remove`)."""
        return self._hide(self._services.catalogue.not_found, body)

    async def blocked(self, body: Json) -> Json:
        """Let match ids be refused (`add`) or served again (`remove`)."""
        return self._hide(self._services.catalogue.blocked, body)

    async def no_replay(self, body: Json) -> Json:
        """Let replay files be not uploaded yet, or expired (`add`), or there (`remove`)."""
        return self._hide(self._services.catalogue.no_replay, body)

    def hidden(self) -> Json:
        """Return the three sets."""
        catalogue = self._services.catalogue
        return {
            "not_found": sorted(catalogue.not_found),
            "blocked": sorted(catalogue.blocked),
            "no_replay": sorted(catalogue.no_replay),
        }

    def _hide(self, ids: set[int], body: Json) -> Json:
        try:
            ids -= {int(match_id) for match_id in body.get("remove", [])}
            ids |= {int(match_id) for match_id in body.get("add", [])}
        except (TypeError, ValueError) as error:
            raise ActionError("add and remove are lists of match ids") from error
        return self.hidden()

    async def _changed(self) -> Json:
        await self._apply_faults()
        shown = self._services.faults.shown()
        self._services.journal.add("faults_changed", faults=sorted(shown))
        return {"faults": shown}

    def _chosen(self, body: Json) -> list[Session]:
        """Return the connections a body means: `all`, or `accounts`, `cms`, `fraction`."""
        accounts, cms, fraction = body.get("accounts"), body.get("cms"), body.get("fraction")
        if not body.get("all") and (accounts, cms, fraction) == (None, None, None):
            raise ActionError("say which: all, accounts, cms or fraction")
        found = [
            session
            for session in self._sessions
            if (accounts is None or session.name in accounts)
            and (cms is None or session.link.cm in cms)
        ]
        if fraction is not None:
            found = self._services.rng.sample(found, round(len(found) * min(1.0, float(fraction))))
        return found

    def _account(self, body: Json) -> Account:
        account = self._services.accounts.by_name(str(body.get("account", "")))
        if account is None:
            raise ActionError("no such account")
        return account


def _server_unavailable(session: Session) -> None:
    body = struct.pack("<QIi", 0, EMsg.TO_GC, 20)  # job sent, EMsg sent, server type
    session.link.send(session.struct_wrapped(EMsg.SERVER_UNAVAILABLE, body))


def _unknown(session: Session) -> None:
    for message in post_logon.unknown(session):
        session.link.send(message)


def _int(body: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(body.get(name, default))
    except (TypeError, ValueError) as error:
        raise ActionError(f"{name} must be an integer") from error
