"""One client's session, and the register of all sessions.

A session sends and ends. `network/dispatch.py` passes its messages to their handlers. No sockets here:
bytes arrive through `dispatch.receive` and leave through `ClientConnection`.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import struct
from collections.abc import Iterator
from typing import Final

from sandbox.gc.session import GcSession
from sandbox.network.connection import ClientConnection, DropMode
from sandbox.network.delay import DelayedConnection
from sandbox.protocol import envelope, messages
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.eresult import EResult
from sandbox.steam.accounts import Account
from sandbox.steam.context import Context

LOGON_WAIT_S: Final = 60.0
MISSED_BEATS: Final = 3


class Stage(enum.Enum):
    """How far a connection has come."""

    SILENT = "silent"  # connected, no Hello yet
    GREETED = "greeted"
    LOGGED_ON = "logged_on"
    ENDED = "ended"


class Session:
    """One connection, and once logged on, one session of an account.

    Args:
        services: what all sessions share.
        sessions: the register, which this one enters itself.
        link: the way to the client.
    """

    def __init__(self, services: Context, sessions: Sessions, link: ClientConnection) -> None:
        self.services = services
        self.sessions = sessions
        self.link: ClientConnection = DelayedConnection(link, self._delay_s)
        self.number = sessions.next_number()
        self.stage = Stage.SILENT
        self.account: Account | None = None
        self.steamid = 0
        self.session_id = 0
        self.logon_id = 0
        self.apps: tuple[int, ...] = ()  # what the client says it plays
        self.is_playing = False  # and whether it is this session that really does
        self.gc = GcSession()
        self._loop = asyncio.get_running_loop()
        self._header = b""
        self.heard_at = self.beat_at = self._loop.time()
        self._patience_s = self._patience()
        self._timer = self._loop.call_later(self._patience_s, self._watch_silence)
        sessions.add(self)
        services.journal.add(
            "connection_opened",
            connection=self.number,
            cm=link.cm,
            transport=link.transport_name,
            source=link.source,
        )

    @property
    def name(self) -> str | None:
        """The account's name, for the journal."""
        return self.account.name if self.account else None

    # --- sending ------------------------------------------------------------------------------
    def send(self, emsg: int, body: bytes = b"", *, job: int = envelope.NO_JOB) -> None:
        """Send a protobuf message; `job` is the client's job it answers."""
        self.link.send(self.wrapped(emsg, body, job=job))

    def wrapped(
        self, emsg: int, body: bytes = b"", *, job: int = envelope.NO_JOB, extra: bytes = b""
    ) -> bytes:
        """Build a protobuf message of this session; `extra` is more encoded header."""
        header = self._header + extra
        if job != envelope.NO_JOB:
            header += envelope.job_target(job)
        return envelope.proto(emsg, header, body)

    def struct_wrapped(self, emsg: int, body: bytes) -> bytes:
        """Build a message in the old, non-protobuf form."""
        return envelope.struct_message(emsg, self.steamid, self.session_id, body)

    def send_multi(self, inner: list[bytes]) -> None:
        """Send complete messages in one gzipped Multi."""
        self.link.send(envelope.multi(inner, self._header))

    # --- life ---------------------------------------------------------------------------------
    def log_on(self, account: Account, session_id: int, logon_id: int) -> None:
        """Become a session of `account`; heartbeats are expected from now on."""
        self.stage = Stage.LOGGED_ON
        self.account = account
        self.steamid = account.steamid
        self.session_id = session_id
        self.logon_id = logon_id
        ids = {"steamid": self.steamid, "client_sessionid": session_id}
        self._header = messages.HEADER.encode(ids)
        self.beat_at = self._loop.time()
        self._timer.cancel()
        self._watch_heartbeat()

    def log_off(self, eresult: int, reason: str, *, clean: bool = False, tell: bool = True) -> None:
        """End the session from Steam's side: ClientLoggedOff, unless not to be told, and close."""
        if self.stage is Stage.ENDED:
            return
        if tell:
            self.link.send(self._logged_off(eresult))
        self.end(reason, eresult=eresult, clean=clean)
        self.link.close()

    def violate(self, reason: str) -> None:
        """Close the connection of a client that broke the protocol."""
        if self.stage is Stage.ENDED:
            return
        self.services.journal.add(
            "protocol_violation",
            connection=self.number,
            cm=self.link.cm,
            account=self.name,
            reason=reason,
        )
        self.end("protocol_violation")
        self.link.close()

    def drop(self, mode: DropMode) -> None:
        """Break the connection on purpose. Half open, Steam keeps the session until it misses beats."""
        if mode is not DropMode.HALF_OPEN:
            self.end(f"dropped_{mode}")
        self.link.drop(mode)

    def end(self, reason: str, *, eresult: int | None = None, clean: bool = False) -> None:
        """End the session in the books; the connection is the caller's business."""
        if self.stage is Stage.ENDED:
            return
        was_logged_on, self.stage = self.stage is Stage.LOGGED_ON, Stage.ENDED
        self._timer.cancel()
        self.gc.close()
        self.sessions.retire(self)
        if was_logged_on:
            self.services.journal.add(
                "session_ended",
                connection=self.number,
                account=self.name,
                session=self.session_id,
                reason=reason,
                eresult=eresult,
                clean=clean,
                idle_s=round(self._loop.time() - self.heard_at, 3),
            )
            self.sessions.on_retired(self)

    def lost(self, reason: str) -> None:
        """Learn from the transport that the socket is gone."""
        self.end(reason)
        self.sessions.remove(self)
        self.services.journal.add(
            "connection_closed",
            connection=self.number,
            cm=self.link.cm,
            account=self.name,
            reason=reason,
        )

    def _delay_s(self) -> float:
        delay_ms: float = self.services.faults.take(
            "slow_ms", 0.0, account=self.name, cm=self.link.cm
        )
        return delay_ms / 1000

    # --- timers -------------------------------------------------------------------------------
    def _patience(self) -> float:
        wait: float = self.services.faults.take("logon_wait_s", LOGON_WAIT_S, cm=self.link.cm)
        return wait

    def _watch_silence(self) -> None:
        """End a connection that neither logs on nor talks (steam-protocol, section 3.1)."""
        deadline = self.heard_at + self._patience_s
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._watch_silence)
        else:
            self.log_off(EResult.FAIL, "no_logon")

    def _watch_heartbeat(self) -> None:
        deadline = self.beat_at + self.services.options.heartbeat_s * MISSED_BEATS
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._watch_heartbeat)
            return
        # Steam does both: says so before it closes, or just closes.
        tell = self.services.rng.random() < 0.5  # noqa: PLR2004 - a fair coin
        self.log_off(EResult.FAIL, "heartbeat_lost", tell=tell)

    def _logged_off(self, eresult: int) -> bytes:
        if self.stage is Stage.SILENT:
            return self.struct_wrapped(EMsg.LOGGED_OFF, struct.pack("<iii", eresult, 0, 0))
        return self.wrapped(EMsg.LOGGED_OFF, messages.LOGGED_OFF.encode({"eresult": eresult}))


class Sessions:
    """Every connection, and every account's sessions."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Session] = {}
        self._by_account: dict[str, list[Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._open.values()))

    def next_number(self) -> int:
        """Return a number for a new connection."""
        return next(self._numbers)

    def add(self, session: Session) -> None:
        """Enter a connection."""
        self._open[session.number] = session

    def remove(self, session: Session) -> None:
        """Strike out a connection whose socket is gone."""
        self._open.pop(session.number, None)

    def enroll(self, session: Session) -> None:
        """Enter a session that has just logged on."""
        self._by_account.setdefault(session.name or "", []).append(session)

    def retire(self, session: Session) -> None:
        """Strike out a session that ended."""
        mine = self._by_account.get(session.name or "", [])
        if session in mine:
            mine.remove(session)

    def of(self, account: str) -> list[Session]:
        """Return the live sessions of an account, oldest first."""
        return list(self._by_account.get(account, ()))

    def player(self, account: str) -> Session | None:
        """Return the session of an account that plays."""
        return next((one for one in self.of(account) if one.is_playing), None)

    def twin(self, account: str, source: str, logon_id: int) -> Session | None:
        """Return the session that a logon with this triple replaces."""
        for session in self.of(account):
            if session.link.source == source and session.logon_id == logon_id:
                return session
        return None

    def on_retired(self, session: Session) -> None:
        """Unblock the account's other sessions when the one that played is gone."""
        if not session.is_playing:
            return
        session.is_playing = False
        self.tell_playing(session.name or "")

    def tell_playing(self, account: str) -> None:
        """Tell every session of an account who plays."""
        player = self.player(account)
        app = player.apps[0] if player and player.apps else 0
        for session in self.of(account):
            blocked = player is not None and player is not session
            state = {"playing_blocked": blocked, "playing_app": app}
            session.send(EMsg.PLAYING_SESSION_STATE, messages.PLAYING_STATE.encode(state))
