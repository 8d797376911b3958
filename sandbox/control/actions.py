"""Actions on a running sandbox, each with one JSON object as its argument.

A request of the control API runs one action; a scenario runs several over time.
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
from sandbox.steam.session import Session, Sessions, SessionState

Json = dict[str, Any]


class ActionError(ValueError):
    """The argument of an action is invalid; the text says why."""


class Actions:
    """All actions, by name.

    Args:
        context: has the switches and sets that actions change.
        sessions: the sessions that actions affect.
        apply_faults: applies changed switches to servers and sessions.
    """

    def __init__(
        self, context: Context, sessions: Sessions, apply_faults: Callable[[], Awaitable[None]]
    ) -> None:
        self._context = context
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
        self._context.faults.set(body)
        return await self._report_faults()

    async def clear_faults(self, body: Json) -> Json:
        """Turn off the switches in `names`, or all."""
        self._context.faults.clear(frozenset(body.get("names", ())))
        return await self._report_faults()

    async def drop(self, body: Json) -> Json:
        """Break connections."""
        try:
            mode = DropMode(body.get("mode", "close"))
        except ValueError as error:
            raise ActionError(f"mode is one of {', '.join(DropMode)}") from error
        chosen = self._select(body)
        for session in chosen:
            session.drop(mode)
        self._context.journal.add("connections_dropped", count=len(chosen), mode=mode)
        return {"dropped": len(chosen)}

    async def log_off(self, body: Json) -> Json:
        """Log sessions off with the result `eresult`."""
        chosen = [one for one in self._select(body) if one.state is SessionState.LOGGED_ON]
        for session in chosen:
            session.log_off(_int(body, "eresult", 2), "control")
        return {"logged_off": len(chosen)}

    async def push(self, body: Json) -> Json:
        """Send an unsolicited message; `what` selects it."""
        pushes: dict[str, Callable[[Session], None]] = {
            "server_unavailable": _server_unavailable,
            "gc_status": lambda session: gc.send_status(session, _int(body, "status", 2), body),
            "gc_welcome": gc.push_welcome,
            "unknown": _unknown,
        }
        push = pushes.get(str(body.get("what")))
        if push is None:
            raise ActionError(f"what is one of {', '.join(pushes)}")
        chosen = [one for one in self._select(body) if one.state is SessionState.LOGGED_ON]
        for session in chosen:
            push(session)
        return {"pushed": len(chosen)}

    async def corrupt(self, body: Json) -> Json:
        """Send invalid bytes of the kind `flaw`."""
        try:
            corruption = Corruption(body.get("flaw", ""))
        except ValueError as error:
            raise ActionError(f"flaw is one of {', '.join(Corruption)}") from error
        chosen = self._select(body)
        for session in chosen:
            session.connection.send_corrupted(corruption)
        return {"corrupted": len(chosen)}

    async def revoke(self, body: Json) -> Json:
        """Revoke an account's tokens; with `log_off`, end its sessions with that result."""
        account = self._account(body)
        self._context.tokens.revoke_all(account)
        self._context.journal.add("tokens_revoked", account=account.name)
        if "log_off" in body:
            for session in self._sessions.of_account(account.name):
                session.log_off(_int(body, "log_off", 26), "revoked")
        return {"revoked": account.name}

    async def decide(self, body: Json) -> Json:
        """Approve or deny an account's waiting authentications, as in the mobile app."""
        approve = bool(body.get("approve", True))
        name = self._account(body).name
        return {"decided": self._context.authenticator.decide(name, approve=approve)}

    async def quota(self, body: Json) -> Json:
        """Change limits, move Steam's clock forward, or reset what was spent."""
        quotas, clock = self._context.quotas, self._context.clock
        cards = self._context.card_quotas
        quotas.per_account = _int(body, "account", quotas.per_account)
        quotas.per_ip = _int(body, "ip", quotas.per_ip)
        cards.per_account = _int(body, "cards", cards.per_account)
        clock.advance(float(body.get("advance_s", 0.0)))
        if body.get("reset"):
            quotas.reset()
            cards.reset()
        used = quotas.used(clock.now())
        return {"account": quotas.per_account, "ip": quotas.per_ip, "used": used}

    async def not_found(self, body: Json) -> Json:
        """Make matches not found (`add`), or found again (`remove`)."""
        return self._change_set(self._context.catalogue.not_found, body)

    async def blocked(self, body: Json) -> Json:
        """Make matches blocked (`add`), or available again (`remove`)."""
        return self._change_set(self._context.catalogue.blocked, body)

    async def no_replay(self, body: Json) -> Json:
        """Make replay files missing (`add`), or available again (`remove`)."""
        return self._change_set(self._context.catalogue.no_replay, body)

    def hidden(self) -> Json:
        """Return the three sets of match ids."""
        catalogue = self._context.catalogue
        return {
            "not_found": sorted(catalogue.not_found),
            "blocked": sorted(catalogue.blocked),
            "no_replay": sorted(catalogue.no_replay),
        }

    def _change_set(self, ids: set[int], body: Json) -> Json:
        try:
            ids -= {int(match_id) for match_id in body.get("remove", [])}
            ids |= {int(match_id) for match_id in body.get("add", [])}
        except (TypeError, ValueError) as error:
            raise ActionError("add and remove are lists of match ids") from error
        return self.hidden()

    async def _report_faults(self) -> Json:
        await self._apply_faults()
        shown = self._context.faults.to_json()
        self._context.journal.add("faults_changed", faults=sorted(shown))
        return {"faults": shown}

    def _select(self, body: Json) -> list[Session]:
        """Return the connections that a body selects: `all`, or `accounts`, `cms`, `fraction`."""
        accounts, cms, fraction = body.get("accounts"), body.get("cms"), body.get("fraction")
        if not body.get("all") and (accounts, cms, fraction) == (None, None, None):
            raise ActionError("all, accounts, cms or fraction is required")
        found = [
            session
            for session in self._sessions
            if (accounts is None or session.name in accounts)
            and (cms is None or session.connection.cm in cms)
        ]
        if fraction is not None:
            found = self._context.rng.sample(found, round(len(found) * min(1.0, float(fraction))))
        return found

    def _account(self, body: Json) -> Account:
        account = self._context.accounts.by_name(str(body.get("account", "")))
        if account is None:
            raise ActionError("no such account")
        return account


def _server_unavailable(session: Session) -> None:
    body = struct.pack("<QIi", 0, EMsg.TO_GC, 20)  # job id, EMsg sent, server type
    session.connection.send(session.build_struct(EMsg.SERVER_UNAVAILABLE, body))


def _unknown(session: Session) -> None:
    for message in post_logon.unknown_messages(session):
        session.connection.send(message)


def _int(body: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(body.get(name, default))
    except (TypeError, ValueError) as error:
        raise ActionError(f"{name} must be an integer") from error
