"""Game Coordinator session, and the schedule of its hellos.

The GC may go away while Steam stays: maintenance, a restart, another session that plays. Then hellos
follow as planned, and the link receives GcLost and later GcReady.
"""

from __future__ import annotations

import enum
import random
from typing import Any, Final

import gevent
from dota2.protobufs.gcsdk_gcmessages_pb2 import CMsgClientHello
from gevent.event import Event
from steam.protobufs.steammessages_clientserver_2_pb2 import (
    CMsgClientPlayingSessionState,
    CMsgClientRequestFreeLicense,
)
from steam.protobufs.steammessages_clientserver_pb2 import (
    CMsgClientGamesPlayed,
)
from structlog.typing import FilteringBoundLogger

from actors.errors import GcUnavailable, PlayingElsewhere
from actors.steam.bridge import Bridge
from actors.steam.connection import Connection
from actors.steam.pending import Inbox
from actors.steam.port import GcLost, GcReady
from actors.steam.protocol import emsg
from actors.steam.protocol.envelope import NO_JOB, Message, decode
from actors.steam.protocol.gc_envelope import (
    GcMessage,
    decompressed,
    gc_head,
    gc_message,
    gc_request,
    parse_gc,
)
from actors.steam.protocol.wire import ParseError, fields, number
from actors.steam.steam_time import SteamTime

# After a welcome the waiting sessions say hello this far apart, and all of them within the limit.
WELCOME_SPACING_S: Final = 0.25
WELCOME_WITHIN_S: Final = 10.0
LICENSE_AFTER_HELLOS: Final = 4  # unanswered; perhaps the account does not own the (free) game
SESSION_NEED: Final = 104  # "UI was never connected": what the dota2 package sends
SOURCE2: Final = 1  # ESourceEngine
BLOCKED_S: Final = 60.0  # another session plays, no welcome can come: the launch waits no longer
# Intervals of hellos, as in dota2 1.1.0, go-dota2 and SteamKit's Dota sample. A hello sent before Steam
# has connected the game to the GC is lost without an answer, so the first ones follow quickly.
PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 7.0, 11.0)
SLOW_S: Final = 19.0
GOING_DOWN_S: Final = 25.0  # the GC restarts or has a queue, which takes minutes
LOST_S: Final = 1.0  # until the first hello after a lost session
# Share of each pause, either way: sessions that were lost together do not return in step.
JITTER: Final = 0.2
# After this long without an answer the GC may not know that the game runs; it is stopped and started.
RESTART_GAME_S: Final = 60.0
LEAST_GAP_S: Final = 3.0  # no early hello sooner than this after the last one


class HelloSchedule:
    """Hellos of one session from its launch or loss to the welcome. Time is an argument.

    Attributes:
        due_at: clock seconds of the next hello.
    """

    def __init__(self, now: float, rng: random.Random, *, after_loss: bool) -> None:
        """The first hello is due at once; after a loss it is spread over the first pause."""
        self._rng = rng
        self._count = 0  # hellos since the game was started
        self._sent_at = now
        self._silent_since = now
        self._restart_after_s = RESTART_GAME_S
        self._slow_s: float | None = None
        self._is_early = False
        self.due_at = now + (self._spread(LOST_S) if after_loss else 0.0)

    def sent(self, now: float) -> None:
        """Note a hello, or a skipped one, and plan the next."""
        pause_s = PAUSES_S[self._count] if self._count < len(PAUSES_S) else SLOW_S
        self._count += 1
        self._sent_at = now
        self._is_early = False
        pause_s = pause_s if self._slow_s is None else self._slow_s
        self.due_at = now + pause_s * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)

    def answered(self, now: float, *, slow: bool) -> None:
        """Note a status of the GC; `slow`: it asks for minutes of patience."""
        self._silent_since = now
        was_slow, self._slow_s = self._slow_s is not None, GOING_DOWN_S if slow else None
        if slow and not was_slow:
            # The first pause has the full jitter, so that some session soon finds the GC back.
            self.due_at = now + self._spread(GOING_DOWN_S)

    def must_restart_game(self, now: float) -> bool:
        """Return whether hellos have been unanswered for too long; the limit doubles each time."""
        if now - self._silent_since < self._restart_after_s:
            return False
        self._silent_since = now
        self._restart_after_s *= 2
        self._count = 0
        return True

    def bring_forward(self, now: float, delay_s: float) -> bool:
        """Plan the next hello in `delay_s` if that is sooner; return whether it was moved.

        At most once per hello: every welcome brings the waiting sessions forward, and repeated moves
        would take away the distance between them.
        """
        if self._is_early or now - self._sent_at < LEAST_GAP_S or now + delay_s >= self.due_at:
            return False
        self._is_early = True
        self.due_at = now + delay_s
        return True

    def _spread(self, pause_s: float) -> float:
        return pause_s * self._rng.uniform(0.1, 1.0 + JITTER)


class WaitingSessions:
    """GC sessions of the hub that wait for a welcome. Used in the hub's thread only.

    A welcome proves that the GC is back: the waiting sessions then say hello one after the other
    instead of at the end of their pauses.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._waiting: dict[GcSession, None] = {}  # in the order of their loss

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, session: GcSession) -> None:
        """Add a session; harmless when repeated."""
        self._waiting[session] = None

    def discard(self, session: GcSession) -> None:
        """Remove a session; harmless when repeated."""
        self._waiting.pop(session, None)

    def welcomed(self, session: GcSession) -> None:
        """Remove a welcomed session and bring the hellos of the others forward."""
        self.discard(session)
        spacing_s = min(WELCOME_SPACING_S, WELCOME_WITHIN_S / max(1, len(self._waiting)))
        for place, other in enumerate(list(self._waiting), start=1):
            other.bring_hello_forward(spacing_s * (place - self.rng.random()))


class Status(enum.IntEnum):
    """GCConnectionStatus."""

    HAVE_SESSION = 0
    GC_GOING_DOWN = 1
    NO_SESSION = 2
    NO_SESSION_IN_LOGON_QUEUE = 3
    NO_STEAM = 4
    SUSPENDED = 5
    STEAM_GOING_DOWN = 6


class GcSession:
    """One GC session. Used in the hub's thread only; posts answers and events to `inbox`."""

    def __init__(
        self,
        connection: Connection,
        inbox: Inbox,
        bridge: Bridge,
        *,
        waiting: WaitingSessions,
        clock: SteamTime,
        log: FilteringBoundLogger,
    ) -> None:
        """`waiting`: shared by all sessions of the hub."""
        self._connection = connection
        self._inbox = inbox
        self._bridge = bridge
        self._requests = {
            emsg.GC_MATCH_DETAILS_RESPONSE: inbox.matches,
            emsg.GC_PROFILE_CARD_RESPONSE: inbox.cards,
        }
        self._waiting = waiting
        self._clock = clock
        self._log = log
        self._head = b""
        self._welcomed = Event()
        self._blocked = False
        self._queued = False
        self._license_requested = False
        self._schedule: HelloSchedule | None = None  # while there is no welcome
        self._rescheduled = Event()
        self._greeter: Any = None
        self._blocked_alarm: Any = None
        self._compression_unknown = False  # and logged
        connection.on(emsg.CLIENT_FROM_GC, self._on_from_gc)
        connection.on(emsg.CLIENT_PLAYING_SESSION_STATE, self._on_playing_state)

    @property
    def is_ready(self) -> bool:
        """Whether the GC has welcomed this session and not gone since."""
        return bool(self._welcomed.is_set())

    def launch(self, timeout_s: float) -> None:
        """Play the game and say hello until the welcome.

        Raises:
            SteamUnreachable: the connection died.
            PlayingElsewhere: another session of the account plays and does not stop.
            GcUnavailable: no welcome in time.
        """
        self._head = gc_head(self._connection.header(routing_appid=emsg.DOTA))
        self._play()
        self._greet(after_loss=False)
        if not self._welcomed.is_set():
            with gevent.Timeout(timeout_s, exception=False):
                self._connection.wait("welcome")
                return
            raise PlayingElsewhere() if self._blocked else GcUnavailable("no welcome in time")

    def request(self, message_type: int, number: int, job: int) -> None:
        """Send a request with one field; the answer goes to the inbox with the same job."""
        self._connection.send_bytes(gc_request(self._head, message_type, number, job))

    def close(self) -> None:
        """Stop the hellos."""
        self._waiting.discard(self)
        for greenlet in (self._greeter, self._blocked_alarm):
            if greenlet is not None:
                greenlet.kill(block=False)

    def bring_hello_forward(self, delay_s: float) -> None:
        """Say hello in `delay_s` seconds unless that is planned sooner."""
        if self._schedule is not None and self._schedule.bring_forward(self._clock.now(), delay_s):
            self._rescheduled.set()

    # -- hellos ----------------------------------------------------------------------------------

    def _play(self) -> None:
        games = CMsgClientGamesPlayed()
        games.games_played.add().game_id = emsg.DOTA
        self._connection.send(emsg.CLIENT_GAMES_PLAYED, games)

    def _greet(self, *, after_loss: bool) -> None:
        """Start the hellos of one launch or loss."""
        if self._greeter is not None:
            self._greeter.kill(block=False)
        rng = self._waiting.rng
        self._schedule = HelloSchedule(self._clock.now(), rng, after_loss=after_loss)
        self._waiting.add(self)
        self._greeter = gevent.spawn(self._say_hello_until_welcomed, self._schedule)

    def _say_hello_until_welcomed(self, schedule: HelloSchedule) -> None:
        hello = CMsgClientHello(client_session_need=SESSION_NEED, engine=SOURCE2)
        message = gc_message(self._head, emsg.GC_CLIENT_HELLO, hello.SerializeToString())
        hellos = 0
        while not self._welcomed.is_set() and self._connection.death is None:
            if (left_s := schedule.due_at - self._clock.now()) > 0:
                self._rescheduled.clear()
                self._rescheduled.wait(left_s)
                continue
            now = self._clock.now()
            if not self._blocked:  # while another session plays, the GC does not hear this one
                if not self._queued and schedule.must_restart_game(now):
                    self._connection.send(emsg.CLIENT_GAMES_PLAYED, CMsgClientGamesPlayed())
                    self._play()  # so that Steam connects the game to the GC again
                self._connection.send_bytes(message)
                hellos += 1
            if hellos == LICENSE_AFTER_HELLOS and not self._license_requested:
                self._license_requested = True
                license_request = CMsgClientRequestFreeLicense(appids=[emsg.DOTA])
                self._connection.send(emsg.CLIENT_REQUEST_FREE_LICENSE, license_request)
            schedule.sent(now)

    # -- incoming messages -----------------------------------------------------------------------

    def _on_from_gc(self, message: Message) -> None:
        gc = parse_gc(message.body)
        if gc is not None and gc.type == emsg.GC_COMPRESSED:
            gc = self._decompressed(gc)
        if gc is None:
            return
        if (requests := self._requests.get(gc.type)) is not None:
            if gc.job != NO_JOB:
                self._bridge.post(requests.resolve, gc.job, gc.body)
        elif gc.type == emsg.GC_CLIENT_WELCOME:
            self._on_welcome()  # the body, up to hundreds of KB of items, is not used
        elif gc.type == emsg.GC_CONNECTION_STATUS:
            self._on_status(gc)
        elif gc.type == emsg.GC_PING_REQUEST:
            self._connection.send_bytes(gc_message(self._head, emsg.GC_PING_RESPONSE))
        elif gc.type == emsg.GC_REQUEST_DROPPED:
            self._bridge.post(self._inbox.on_request_dropped, gc.job)

    def _decompressed(self, gc: GcMessage) -> GcMessage | None:
        """Return the inner message; the request of an unreadable one counts as dropped."""
        try:
            inner = decompressed(gc)
        except ParseError:
            inner = None
        if inner is None:
            if not self._compression_unknown:
                self._compression_unknown = True
                self._log.warning("gc_message_compressed", size=len(gc.body))
            self._bridge.post(self._inbox.on_request_dropped, gc.job)
        return inner

    def _on_welcome(self) -> None:
        if not self._welcomed.is_set():
            self._welcomed.set()
            self._queued = False
            self._schedule = None
            self._rescheduled.set()
            self._connection.resolve("welcome", None)
            self._waiting.welcomed(self)
            self._bridge.post(self._inbox.on_event, GcReady())

    def _on_status(self, gc: GcMessage) -> None:
        # By hand: the old class reads an unknown status as its default, HAVE_SESSION.
        # CMsgConnectionStatus { 1 status, 3 queue_position, 4 queue_size }
        found = fields(gc.body)
        status = number(found, 1, Status.HAVE_SESSION)
        if status == Status.HAVE_SESSION:
            self._on_welcome()
            return
        reason = f"connection status {status}"
        self._queued = status == Status.NO_SESSION_IN_LOGON_QUEUE  # which admits it by itself
        if self._queued:
            reason = f"queued at {number(found, 3)} of {number(found, 4)}"
        self._lose(GcUnavailable(reason))
        if self._schedule is not None:
            down = status in (Status.GC_GOING_DOWN, Status.STEAM_GOING_DOWN)
            self._schedule.answered(self._clock.now(), slow=down or self._queued)
            self._rescheduled.set()

    def _on_playing_state(self, message: Message) -> None:
        state = decode(CMsgClientPlayingSessionState, message.body)
        was_blocked, self._blocked = self._blocked, state.playing_blocked
        if self._blocked:
            self._lose(PlayingElsewhere())
            if not was_blocked:
                refuse = self._connection.refuse
                self._blocked_alarm = gevent.spawn_later(
                    BLOCKED_S, refuse, "welcome", PlayingElsewhere()
                )
        elif was_blocked and self._head:
            self._play()
            self._greet(after_loss=False)
        elif self._welcomed.is_set() and state.playing_app != emsg.DOTA:
            self._lose(GcUnavailable("the game is not running any more"))
            self._play()
        if was_blocked and not self._blocked and self._blocked_alarm is not None:
            self._blocked_alarm.kill(block=False)

    def _lose(self, why: GcUnavailable) -> None:
        if self._welcomed.is_set():
            self._welcomed.clear()
            lost = GcLost(why.reason, plays_elsewhere=isinstance(why, PlayingElsewhere))
            self._bridge.post(self._inbox.on_event, lost)
            self._greet(after_loss=True)
