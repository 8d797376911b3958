"""Game Coordinator session.

The GC may go away while Steam stays: maintenance, a restart, another session that plays. Then hellos
follow as planned in gc_hello.py, and the link receives GcLost and later GcReady.
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
from actors.steam.gc_hello import HelloSchedule
from actors.steam.pending import Inbox
from actors.steam.port import GcLost, GcReady
from actors.steam.protocol.emsg import (
    CLIENT_FROM_GC,
    CLIENT_GAMES_PLAYED,
    CLIENT_PLAYING_SESSION_STATE,
    CLIENT_REQUEST_FREE_LICENSE,
    DOTA,
    GC_CLIENT_HELLO,
    GC_CLIENT_WELCOME,
    GC_COMPRESSED,
    GC_CONNECTION_STATUS,
    GC_MATCH_DETAILS_RESPONSE,
    GC_PING_REQUEST,
    GC_PING_RESPONSE,
    GC_PROFILE_CARD_RESPONSE,
    GC_REQUEST_DROPPED,
)
from actors.steam.protocol.envelope import (
    NO_JOB,
    GcMessage,
    Message,
    decode,
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
            GC_MATCH_DETAILS_RESPONSE: inbox.matches,
            GC_PROFILE_CARD_RESPONSE: inbox.cards,
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
        connection.on(CLIENT_FROM_GC, self._on_from_gc)
        connection.on(CLIENT_PLAYING_SESSION_STATE, self._on_playing_state)

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
        self._head = gc_head(self._connection.header(routing_appid=DOTA))
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
        games.games_played.add().game_id = DOTA
        self._connection.send(CLIENT_GAMES_PLAYED, games)

    def _restart_game(self) -> None:
        """Stop and start the game, so that Steam connects it to the GC again."""
        self._connection.send(CLIENT_GAMES_PLAYED, CMsgClientGamesPlayed())
        self._play()

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
        message = gc_message(self._head, GC_CLIENT_HELLO, hello.SerializeToString())
        hellos = 0
        while not self._welcomed.is_set() and self._connection.death is None:
            if (left_s := schedule.due_at - self._clock.now()) > 0:
                self._rescheduled.clear()
                self._rescheduled.wait(left_s)
                continue
            now = self._clock.now()
            if not self._blocked:  # while another session plays, the GC does not hear this one
                if not self._queued and schedule.must_restart_game(now):
                    self._restart_game()
                self._connection.send_bytes(message)
                hellos += 1
            if hellos == LICENSE_AFTER_HELLOS and not self._license_requested:
                self._request_license()
            schedule.sent(now)

    def _request_license(self) -> None:
        self._license_requested = True
        self._connection.send(
            CLIENT_REQUEST_FREE_LICENSE, CMsgClientRequestFreeLicense(appids=[DOTA])
        )

    # -- incoming messages -----------------------------------------------------------------------

    def _on_from_gc(self, message: Message) -> None:
        gc = parse_gc(message.body)
        if gc is not None and gc.type == GC_COMPRESSED:
            gc = self._decompressed(gc)
        if gc is None:
            return
        if (requests := self._requests.get(gc.type)) is not None:
            if gc.job != NO_JOB:
                self._bridge.post(requests.resolve, gc.job, gc.body)
        elif gc.type == GC_CLIENT_WELCOME:  # its body, up to hundreds of KB of items, is not used
            self._on_welcome()
        elif gc.type == GC_CONNECTION_STATUS:
            self._on_status(gc)
        elif gc.type == GC_PING_REQUEST:
            self._connection.send_bytes(gc_message(self._head, GC_PING_RESPONSE))
        elif gc.type == GC_REQUEST_DROPPED:
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
        # The queue admits this session by itself.
        self._queued = status == Status.NO_SESSION_IN_LOGON_QUEUE
        if self._queued:
            self._lose(GcUnavailable(f"queued at {number(found, 3)} of {number(found, 4)}"))
        else:
            self._lose(GcUnavailable(f"connection status {status}"))
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
                self._blocked_alarm = gevent.spawn_later(BLOCKED_S, self._on_blocked_too_long)
        elif was_blocked and self._head:
            self._play()
            self._greet(after_loss=False)
        elif self._welcomed.is_set() and state.playing_app != DOTA:
            self._lose(GcUnavailable("the game is not running any more"))
            self._play()
        if was_blocked and not self._blocked and self._blocked_alarm is not None:
            self._blocked_alarm.kill(block=False)

    def _on_blocked_too_long(self) -> None:
        self._connection.refuse("welcome", PlayingElsewhere())

    def _lose(self, why: GcUnavailable) -> None:
        if self._welcomed.is_set():
            self._welcomed.clear()
            lost = GcLost(why.reason, plays_elsewhere=isinstance(why, PlayingElsewhere))
            self._bridge.post(self._inbox.on_event, lost)
            self._greet(after_loss=True)
