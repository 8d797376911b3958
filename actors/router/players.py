"""Profile cards and former names of players, each asked of the next ready bot.

No match budget is touched, so this knows nothing of budgets, and bots whose budget is spent for now
serve here all the same. A bot that fails or stays silent is followed by one other; the first of two
gets half of the time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, assert_never

from structlog.typing import FilteringBoundLogger

from actors.actor import Actor, Address, Envelope, Reply
from actors.bot.log import FirstFailures
from actors.bot.messages import BotChanged, BotRemoved, ReadyBot, ServeAliases, ServeProfile
from actors.bot.registry import BotRegistry
from actors.clock import Clock
from actors.errors import Busy, LocalProtocolError, NotReady, RequestError, SteamError, TimedOut
from actors.matches.players import PlayerDecoder
from actors.matches.protobuf.wire import DecodeError
from actors.router.messages import FetchAliases, FetchProfile, PlayersMessage
from actors.router.spent_budgets import RestingAccounts

TRIES: Final = 2  # bots that are asked one question
MOST_PER_BOT: Final = 8  # questions under way, on average
BOT_GRACE_S: Final = 0.25  # the bot keeps the time limit and knows best why; this is for its answer
RETRY_S: Final = 1.0
NOT_READY_RETRY_S: Final = 5.0

PlayerQuery = FetchProfile | FetchAliases


class _AttemptFailed(Exception):
    """This bot did not bring the answer; the text says why."""


class Players(Actor[PlayersMessage]):
    """Actor that answers player requests with the ready bots in turn."""

    def __init__(
        self,
        *,
        address: Address[PlayersMessage],
        decoder: PlayerDecoder,
        registry: BotRegistry,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`registry`: tells the state of every bot."""
        super().__init__(address, clock=clock)
        self._decoder = decoder
        self._registry = registry
        self._clock = clock
        self._log = log.bind(actor="players")
        self._failures = FirstFailures()
        self._seats: OrderedDict[str, ReadyBot] = OrderedDict()  # by bot, in order of last use
        self._resting = RestingAccounts()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take over the address and learn of the bots that are there already."""
        await super().start()
        self._registry.subscribe(self.address)

    async def run(self) -> None:
        """Serve until stopped; questions still under way then end with NotReady."""
        try:
            await super().run()
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def handle(self, envelope: Envelope[PlayersMessage]) -> None:
        """Never waits: every question has a task of its own."""
        match envelope.message:
            case FetchProfile() | FetchAliases() as fetch:
                self._on_fetch(fetch, envelope.reply)
            case BotChanged(bot_id=bot_id, seat=seat) as changed:
                self._resting.note(changed, self._clock.now())
                self._seat(bot_id, seat)
            case BotRemoved(bot_id=bot_id):
                self._resting.forget(bot_id)
                self._seat(bot_id, None)
            case other:
                assert_never(other)

    def _seat(self, bot_id: str, seat: ReadyBot | None) -> None:
        if seat is None:
            self._seats.pop(bot_id, None)
        else:
            self._seats[bot_id] = seat

    def _on_fetch(self, fetch: PlayerQuery, reply: Reply[bytes] | None) -> None:
        if reply is None:
            return
        if len(self._tasks) >= MOST_PER_BOT * max(1, len(self._seats)):
            reply.fail(Busy("too many questions about players at once; try again soon", RETRY_S))
            return
        task = asyncio.create_task(self._answer(fetch, reply), name="player-question")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, fetch: PlayerQuery, reply: Reply[bytes]) -> None:
        try:
            reply.set(await self._bring(fetch, reply))
        except RequestError as error:
            reply.fail(error)
        except asyncio.CancelledError:
            reply.fail(NotReady("the service is stopping"))
            raise

    async def _bring(self, fetch: PlayerQuery, reply: Reply[bytes]) -> bytes:
        asked: set[str] = set()
        reason = ""
        while len(asked) < TRIES and not reply.done and (seat := self._next(asked)) is not None:
            asked.add(seat.bot_id)
            may_follow = min(TRIES - len(asked), len(self._seats.keys() - asked))
            try:
                answer = await self._ask(seat, fetch, tries=1 + may_follow)
            except _AttemptFailed as failed:
                reason = str(failed)
                log = self._log.bind(
                    account=seat.account, reason=reason, request_id=fetch.request_id
                )
                if self._failures.is_news(seat.account):
                    log.info("player_try_failed")
                else:
                    log.debug("player_try_failed")
            else:
                self._failures.succeeded(seat.account)
                return answer
        if not asked:
            error = NotReady("no bot is ready to ask Steam", NOT_READY_RETRY_S)
            raise self._resting.corrected(error, self._clock.now())
        raise TimedOut(f"no bot answered about the player: {reason}", RETRY_S)

    def _next(self, but: set[str]) -> ReadyBot | None:
        """Return the seat whose turn it is; it goes to the end of the line."""
        for bot_id, seat in self._seats.items():
            if bot_id not in but:
                self._seats.move_to_end(bot_id)
                return seat
        return None

    async def _ask(self, seat: ReadyBot, fetch: PlayerQuery, *, tries: int) -> bytes:
        """Raises _TryFailed. `tries` have to do with the time that is left."""
        now = self._clock.now()
        timeout_s = max(0.0, fetch.deadline - now) / tries
        deadline = now + timeout_s + BOT_GRACE_S
        try:
            if isinstance(fetch, FetchProfile):
                card = await seat.address.ask(
                    ServeProfile(fetch.account_id, timeout_s, fetch.request_id), deadline=deadline
                )
                return self._decoder.card(fetch.account_id, card)
            names = await seat.address.ask(
                ServeAliases(fetch.steam_ids, timeout_s, fetch.request_id), deadline=deadline
            )
            return self._decoder.aliases(fetch.steam_ids, names)
        except TimeoutError:
            raise _AttemptFailed("silence") from None
        except (SteamError, LocalProtocolError, DecodeError) as error:
            raise _AttemptFailed(str(error)) from error
