"""Client sessions and the register of all sessions.

Messages arrive through `network/dispatch.py` and leave through `ClientConnection`.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import struct
from collections.abc import Iterator
from typing import Final

from sandbox.network.connection import ClientConnection, DelayedConnection, DropMode
from sandbox.protocol import envelope, messages
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.eresult import EResult
from sandbox.steam.accounts import Account
from sandbox.steam.context import Context

LOGON_TIMEOUT_S: Final = 60.0
MISSED_HEARTBEATS: Final = 3


class SessionState(enum.Enum):
    """State of a connection."""

    CONNECTED = "silent"  # no Hello yet
    HELLO_RECEIVED = "greeted"
    LOGGED_ON = "logged_on"
    ENDED = "ended"


class GcSession:
    """GC session of a client. `epoch` grows with each end, so that delayed work can detect it."""

    __slots__ = ("epoch", "is_queued", "is_welcomed", "pings_unanswered", "starts_at", "timer")

    def __init__(self) -> None:
        self.is_welcomed = False
        self.is_queued = False
        self.epoch = 0
        self.starts_at = 0.0  # loop seconds; hellos before it are ignored
        self.pings_unanswered = 0
        self.timer: asyncio.TimerHandle | None = None

    def close(self) -> bool:
        """End the GC session; return whether there was one."""
        had, self.is_welcomed = self.is_welcomed, False
        self.is_queued = False
        self.epoch += 1
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return had


class Session:
    """One connection; after its log-on, one session of an account.

    Args:
        context: state that all sessions share.
        sessions: the register, which the new session enters.
        connection: the client's connection.
    """

    def __init__(self, context: Context, sessions: Sessions, connection: ClientConnection) -> None:
        self.context = context
        self.sessions = sessions
        self.connection: ClientConnection = DelayedConnection(connection, self._delay_s)
        self.number = sessions.next_number()
        self.state = SessionState.CONNECTED
        self.account: Account | None = None
        self.steamid = 0
        self.session_id = 0
        self.logon_id = 0
        self.apps: tuple[int, ...] = ()  # the apps that the client reports
        self.is_playing = False  # False if another session of the account plays
        self.gc = GcSession()
        self._loop = asyncio.get_running_loop()
        self._header = b""
        self.last_message_at = self.last_heartbeat_at = self._loop.time()
        self._logon_timeout_s = self._read_logon_timeout()
        self._timer = self._loop.call_later(self._logon_timeout_s, self._check_logon_timeout)
        sessions.add(self)
        context.journal.add(
            "connection_opened",
            connection=self.number,
            cm=connection.cm,
            transport=connection.transport_name,
            source=connection.source,
        )

    @property
    def name(self) -> str | None:
        """The account's name, for the journal."""
        return self.account.name if self.account else None

    # --- sending ------------------------------------------------------------------------------
    def send(self, emsg: int, body: bytes = b"", *, job: int = envelope.NO_JOB) -> None:
        """Send a protobuf message; `job` is the client's job that it answers."""
        self.connection.send(self.build(emsg, body, job=job))

    def build(
        self, emsg: int, body: bytes = b"", *, job: int = envelope.NO_JOB, extra: bytes = b""
    ) -> bytes:
        """Return a protobuf message of this session; `extra` is appended to the encoded header."""
        header = self._header + extra
        if job != envelope.NO_JOB:
            header += envelope.job_target(job)
        return envelope.proto(emsg, header, body)

    def build_struct(self, emsg: int, body: bytes) -> bytes:
        """Return a message in the old struct form."""
        return envelope.struct_message(emsg, self.steamid, self.session_id, body)

    def send_multi(self, inner: list[bytes]) -> None:
        """Send complete messages in one gzipped Multi."""
        self.connection.send(envelope.multi(inner, self._header))

    # --- state --------------------------------------------------------------------------------
    def log_on(self, account: Account, session_id: int, logon_id: int) -> None:
        """Make this a session of `account`; heartbeats are required from now on."""
        self.state = SessionState.LOGGED_ON
        self.account = account
        self.steamid = account.steamid
        self.session_id = session_id
        self.logon_id = logon_id
        ids = {"steamid": self.steamid, "client_sessionid": session_id}
        self._header = messages.HEADER.encode(ids)
        self.last_heartbeat_at = self._loop.time()
        self._timer.cancel()
        self._check_heartbeat()

    def log_off(
        self, eresult: int, reason: str, *, clean: bool = False, notify: bool = True
    ) -> None:
        """End the session on Steam's side: send ClientLoggedOff if `notify`, then close."""
        if self.state is SessionState.ENDED:
            return
        if notify:
            self.connection.send(self._logged_off(eresult))
        self.end(reason, eresult=eresult, clean=clean)
        self.connection.close()

    def close_on_violation(self, reason: str) -> None:
        """Close the connection because the client broke the protocol."""
        if self.state is SessionState.ENDED:
            return
        self.context.journal.add(
            "protocol_violation",
            connection=self.number,
            cm=self.connection.cm,
            account=self.name,
            reason=reason,
        )
        self.end("protocol_violation")
        self.connection.close()

    def drop(self, mode: DropMode) -> None:
        """Break the connection. A half-open one keeps its session until heartbeats are missed."""
        if mode is not DropMode.HALF_OPEN:
            self.end(f"dropped_{mode}")
        self.connection.drop(mode)

    def end(self, reason: str, *, eresult: int | None = None, clean: bool = False) -> None:
        """Mark the session as ended; the caller closes the connection."""
        if self.state is SessionState.ENDED:
            return
        was_logged_on, self.state = self.state is SessionState.LOGGED_ON, SessionState.ENDED
        self._timer.cancel()
        self.gc.close()
        self.sessions.remove_logged_on(self)
        if was_logged_on:
            self.context.journal.add(
                "session_ended",
                connection=self.number,
                account=self.name,
                session=self.session_id,
                reason=reason,
                eresult=eresult,
                clean=clean,
                idle_s=round(self._loop.time() - self.last_message_at, 3),
            )
            self.sessions.on_session_ended(self)

    def on_connection_lost(self, reason: str) -> None:
        """End the session because its socket has closed."""
        self.end(reason)
        self.sessions.remove(self)
        self.context.journal.add(
            "connection_closed",
            connection=self.number,
            cm=self.connection.cm,
            account=self.name,
            reason=reason,
        )

    def _delay_s(self) -> float:
        delay_ms: float = self.context.faults.take(
            "slow_ms", 0.0, account=self.name, cm=self.connection.cm
        )
        return delay_ms / 1000

    # --- timers -------------------------------------------------------------------------------
    def _read_logon_timeout(self) -> float:
        wait: float = self.context.faults.take(
            "logon_wait_s", LOGON_TIMEOUT_S, cm=self.connection.cm
        )
        return wait

    def _check_logon_timeout(self) -> None:
        """Close a connection that neither logs on nor sends (steam-protocol, section 3.1)."""
        deadline = self.last_message_at + self._logon_timeout_s
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._check_logon_timeout)
        else:
            self.log_off(EResult.FAIL, "no_logon")

    def _check_heartbeat(self) -> None:
        deadline = self.last_heartbeat_at + self.context.options.heartbeat_s * MISSED_HEARTBEATS
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._check_heartbeat)
            return
        # Steam sends ClientLoggedOff before it closes, or only closes.
        notify = self.context.rng.random() < 0.5  # noqa: PLR2004 - one half
        self.log_off(EResult.FAIL, "heartbeat_lost", notify=notify)

    def _logged_off(self, eresult: int) -> bytes:
        if self.state is SessionState.CONNECTED:
            return self.build_struct(EMsg.LOGGED_OFF, struct.pack("<iii", eresult, 0, 0))
        return self.build(EMsg.LOGGED_OFF, messages.LOGGED_OFF.encode({"eresult": eresult}))


class Sessions:
    """All connections, and the sessions of every account."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, Session] = {}
        self._by_account: dict[str, list[Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._open.values()))

    def next_number(self) -> int:
        """Return the number of a new connection."""
        return next(self._numbers)

    def add(self, session: Session) -> None:
        """Add a connection."""
        self._open[session.number] = session

    def remove(self, session: Session) -> None:
        """Remove a connection whose socket has closed."""
        self._open.pop(session.number, None)

    def add_logged_on(self, session: Session) -> None:
        """Add a session that has just logged on."""
        self._by_account.setdefault(session.name or "", []).append(session)

    def remove_logged_on(self, session: Session) -> None:
        """Remove a session that has ended."""
        mine = self._by_account.get(session.name or "", [])
        if session in mine:
            mine.remove(session)

    def of_account(self, account: str) -> list[Session]:
        """Return the sessions of an account, oldest first."""
        return list(self._by_account.get(account, ()))

    def playing_session(self, account: str) -> Session | None:
        """Return the playing session of an account."""
        return next((one for one in self.of_account(account) if one.is_playing), None)

    def find_same_logon(self, account: str, source: str, logon_id: int) -> Session | None:
        """Return the session that a log-on with these values replaces."""
        for session in self.of_account(account):
            if session.connection.source == source and session.logon_id == logon_id:
                return session
        return None

    def on_session_ended(self, session: Session) -> None:
        """Unblock the account's other sessions if the ended one was playing."""
        if not session.is_playing:
            return
        session.is_playing = False
        self.send_playing_state(session.name or "")

    def send_playing_state(self, account: str) -> None:
        """Send the playing state to every session of an account."""
        active = self.playing_session(account)
        app = active.apps[0] if active and active.apps else 0
        for session in self.of_account(account):
            blocked = active is not None and active is not session
            state = {"playing_blocked": blocked, "playing_app": app}
            session.send(EMsg.PLAYING_SESSION_STATE, messages.PLAYING_STATE.encode(state))
