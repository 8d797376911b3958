"""The session with Dota 2's Game Coordinator: play, say hello until welcomed, keep it, ask it things.

The GC may go away while Steam stays (maintenance, a restart, another session that plays): then it is
greeted again, and the owner of the link is told of the loss and of the return.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from typing import Any, Final

import gevent
from dota2.protobufs.gcsdk_gcmessages_pb2 import CMsgClientHello
from gevent.event import Event
from steam.protobufs.steammessages_clientserver_2_pb2 import (
    CMsgClientPlayingSessionState,
    CMsgClientRequestFreeLicense,
)
from steam.protobufs.steammessages_clientserver_pb2 import CMsgClientGamesPlayed

from actors.errors import GcUnavailable
from actors.steam.connection import Connection
from actors.steam.emsg import (
    CLIENT_FROM_GC,
    CLIENT_GAMES_PLAYED,
    CLIENT_PLAYING_SESSION_STATE,
    CLIENT_REQUEST_FREE_LICENSE,
    DOTA,
    GC_CLIENT_HELLO,
    GC_CLIENT_WELCOME,
    GC_CONNECTION_STATUS,
    GC_MATCH_DETAILS_RESPONSE,
    GC_PING_REQUEST,
    GC_PING_RESPONSE,
    GC_PROFILE_CARD_RESPONSE,
)
from actors.steam.envelope import NO_JOB, Message, decode
from actors.steam.gc_envelope import (
    GcMessage,
    gc_head,
    gc_message,
    match_details_request,
    parse_gc,
    profile_card_request,
)
from actors.steam.wire import fields, number

# Seconds between hellos. One that is sent before Steam has connected the game to the GC is lost without
# a word, so the first few come quickly; then as the dota2 package has it.
HELLO_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 7.0, 11.0)
SLOW_HELLO_S: Final = 19.0
GOING_DOWN_HELLO_S: Final = 25.0  # maintenance takes minutes
LICENSE_AFTER_HELLOS: Final = 4  # unanswered; then perhaps the account does not own the (free) game
SESSION_NEED: Final = 104  # "UI was never connected": what the dota2 package sends
SOURCE2: Final = 1  # ESourceEngine


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
    """See the module. Lives in the hub; what it calls back is called there and must not wait."""

    def __init__(
        self,
        connection: Connection,
        *,
        on_body: Callable[[int, bytes], None],
        on_card: Callable[[int, bytes], None],
        on_lost: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        """`on_body`, `on_card`: (job, body) of every match answer, of every profile card."""
        self._connection = connection
        self._answers = {
            GC_MATCH_DETAILS_RESPONSE: on_body,
            GC_PROFILE_CARD_RESPONSE: on_card,
        }
        self._on_lost = on_lost
        self._on_ready = on_ready
        self._head = b""
        self._welcomed = Event()
        self._blocked = False
        self._license_asked = False
        self._pause_s: float | None = None  # what the GC's state asks for, instead of the usual
        self._greeter: Any = None
        connection.on(CLIENT_FROM_GC, self._on_from_gc)
        connection.on(CLIENT_PLAYING_SESSION_STATE, self._on_playing_state)

    @property
    def is_ready(self) -> bool:
        """Whether the GC has welcomed us and not gone since."""
        return bool(self._welcomed.is_set())

    def launch(self) -> None:
        """Play the game and greet the GC until it welcomes us; the caller sets the time limit.

        Raises:
            SteamUnreachable: the connection died.
        """
        self._head = gc_head(self._connection)
        self._play()
        self._greet()
        self._wait_for_welcome()

    def why_not_ready(self) -> GcUnavailable:
        """Return the error that says why no welcome came."""
        if self._blocked:
            return GcUnavailable("another session of the account is playing")
        return GcUnavailable("no welcome in time")

    def request_match(self, match_id: int, job: int) -> None:
        """Send one request; the answer comes to `on_body` with the same job."""
        self._connection.send_bytes(match_details_request(self._head, match_id, job))

    def request_card(self, account_id: int, job: int) -> None:
        """Send one request; the answer comes to `on_card` with the same job."""
        self._connection.send_bytes(profile_card_request(self._head, account_id, job))

    def close(self) -> None:
        """End the greeting."""
        if self._greeter is not None:
            self._greeter.kill(block=False)

    # -- greeting ------------------------------------------------------------------------------

    def _play(self) -> None:
        games = CMsgClientGamesPlayed()
        games.games_played.add().game_id = DOTA
        self._connection.send(CLIENT_GAMES_PLAYED, games)

    def _wait_for_welcome(self) -> None:
        if self._welcomed.is_set():
            return
        self._connection.wait("welcome")

    def _greet(self) -> None:
        if self._greeter is None or self._greeter.dead:
            self._greeter = gevent.spawn(self._say_hello_until_welcomed)

    def _greet_anew(self) -> None:
        """Greet at once, however long the pause is that the greeter is in."""
        self.close()
        self._greeter = gevent.spawn(self._say_hello_until_welcomed)

    def _say_hello_until_welcomed(self) -> None:
        hello = CMsgClientHello(client_session_need=SESSION_NEED, engine=SOURCE2)
        message = gc_message(self._head, GC_CLIENT_HELLO, hello.SerializeToString())
        pauses = itertools.chain(HELLO_PAUSES_S, itertools.repeat(SLOW_HELLO_S))
        for count, pause_s in enumerate(pauses, start=1):
            if self._welcomed.is_set() or self._connection.death is not None:
                return
            if not self._blocked:  # while another session plays, the GC does not hear us
                self._connection.send_bytes(message)
            if count == LICENSE_AFTER_HELLOS and not self._license_asked:
                self._request_license()
            self._welcomed.wait(self._pause_s or pause_s)

    def _request_license(self) -> None:
        self._license_asked = True
        self._connection.send(
            CLIENT_REQUEST_FREE_LICENSE, CMsgClientRequestFreeLicense(appids=[DOTA])
        )

    # -- what comes in -------------------------------------------------------------------------

    def _on_from_gc(self, message: Message) -> None:
        gc = parse_gc(message.body)
        if gc is None:
            return
        if (on_answer := self._answers.get(gc.type)) is not None:
            if gc.job != NO_JOB:
                on_answer(gc.job, gc.body)
        elif gc.type == GC_CLIENT_WELCOME:  # its body, up to hundreds of KB of items, is not for us
            self._on_welcome()
        elif gc.type == GC_CONNECTION_STATUS:
            self._on_status(gc)
        elif gc.type == GC_PING_REQUEST:
            self._connection.send_bytes(gc_message(self._head, GC_PING_RESPONSE))

    def _on_welcome(self) -> None:
        self._pause_s = None
        if not self._welcomed.is_set():
            self._welcomed.set()
            self._connection.resolve("welcome", None)
            self._on_ready()

    def _on_status(self, gc: GcMessage) -> None:
        # By hand: the old class reads a status that it does not know as its default, HAVE_SESSION.
        # CMsgConnectionStatus { 1 status, 3 queue_position, 4 queue_size }
        found = fields(gc.body)
        status = number(found, 1, Status.HAVE_SESSION)
        if status == Status.HAVE_SESSION:
            self._on_welcome()
        elif status == Status.NO_SESSION_IN_LOGON_QUEUE:
            self._pause_s = GOING_DOWN_HELLO_S  # it lets us in by itself
            self._lose(f"queued at {number(found, 3)} of {number(found, 4)}")
        else:
            down = status in (Status.GC_GOING_DOWN, Status.STEAM_GOING_DOWN)
            self._pause_s = GOING_DOWN_HELLO_S if down else None
            self._lose(f"connection status {status}")

    def _on_playing_state(self, message: Message) -> None:
        state = decode(CMsgClientPlayingSessionState, message.body)
        was_blocked, self._blocked = self._blocked, state.playing_blocked
        if self._blocked:
            self._lose("another session of the account is playing")
        elif was_blocked and self._head:
            self._play()
            self._greet_anew()
        elif self._welcomed.is_set() and state.playing_app != DOTA:
            self._lose("the game is not running any more")
            self._play()

    def _lose(self, reason: str) -> None:
        if self._welcomed.is_set():
            self._welcomed.clear()
            self._on_lost(reason)
            self._greet()
