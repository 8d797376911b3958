"""Players actor: profile cards and former names of players, from the ready bots in turn.

No match budget is used, so bots whose budget is spent serve here, too. A bot that fails or stays silent
is followed by one other; the first of two gets half of the time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, assert_never

from structlog.typing import FilteringBoundLogger

from actors.actor import Actor, Address, fail, resolve
from actors.bot.log import FirstFailures
from actors.bot.messages import BotChanged, BotRemoved, ReadyBot, ServeAliases, ServeProfile
from actors.bot.registry import BotRegistry
from actors.clock import Clock, Tasks
from actors.errors import Busy, LocalProtocolError, NotReady, RequestError, SteamError, TimedOut
from actors.matches.players import PlayerDecoder
from actors.matches.protobuf.wire import DecodeError
from actors.router.bot_availability import NOT_READY_RETRY_S, RestingAccounts
from actors.router.messages import FetchAliases, FetchProfile, PlayersMessage

ATTEMPTS: Final = 2  # bots that are asked for one request
MOST_PER_BOT: Final = 8  # requests in flight, on average
BOT_GRACE_S: Final = 0.25  # the bot keeps the time limit itself; this is for its answer
RETRY_S: Final = 1.0

PlayerQuery = FetchProfile | FetchAliases


class _AttemptFailed(Exception):
    """The bot did not answer; the text says why."""


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
        self._bots: OrderedDict[str, ReadyBot] = OrderedDict()  # by id, in order of last use
        self._resting = RestingAccounts()
        self._tasks = Tasks()

    async def on_start(self) -> None:
        """Get the state of every bot."""
        self._registry.subscribe(self.address)

    async def on_stop(self) -> None:
        """Cancel the running requests."""
        self._tasks.cancel()
        await self._tasks.finish()

    async def handle(self, message: PlayersMessage) -> asyncio.Future[bytes] | None:
        """Never waits: every request has a task of its own."""
        match message:
            case FetchProfile() | FetchAliases() as fetch:
                if len(self._tasks) >= MOST_PER_BOT * max(1, len(self._bots)):
                    raise Busy("too many questions about players at once; try again soon", RETRY_S)
                answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                self._tasks.start(self._bring(fetch, answer), name="player-request")
                return answer
            case BotChanged(bot_id=bot_id, ready_bot=bot) as changed:
                self._resting.note(changed, self._clock.now())
                self._set_bot(bot_id, bot)
            case BotRemoved(bot_id=bot_id):
                self._resting.forget(bot_id)
                self._set_bot(bot_id, None)
            case other:
                assert_never(other)
        return None

    def _set_bot(self, bot_id: str, bot: ReadyBot | None) -> None:
        if bot is None:
            self._bots.pop(bot_id, None)
        else:
            self._bots[bot_id] = bot

    async def _bring(self, fetch: PlayerQuery, answer: asyncio.Future[bytes]) -> None:
        # Not the answer itself: a question counts until its bot is done, also when the sender has left.
        try:
            resolve(answer, await self._fetch(fetch, answer))
        except RequestError as error:
            fail(answer, error)

    async def _fetch(self, fetch: PlayerQuery, answer: asyncio.Future[bytes]) -> bytes:
        """Return the answer of a bot. Raises RequestError."""
        asked: set[str] = set()
        reason = ""
        while (
            len(asked) < ATTEMPTS and not answer.done() and (bot := self._next(asked)) is not None
        ):
            asked.add(bot.bot_id)
            may_follow = min(ATTEMPTS - len(asked), len(self._bots.keys() - asked))
            try:
                body = await self._ask(bot, fetch, attempts=1 + may_follow)
            except _AttemptFailed as failed:
                reason = str(failed)
                is_news = self._failures.is_news(bot.account)
                write = self._log.info if is_news else self._log.debug
                account, request_id = bot.account, fetch.request_id
                write(
                    "player_attempt_failed", account=account, reason=reason, request_id=request_id
                )
            else:
                self._failures.succeeded(bot.account)
                return body
        if not asked:
            error = NotReady("no bot is ready to ask Steam", NOT_READY_RETRY_S)
            raise self._resting.corrected(error, self._clock.now())
        raise TimedOut(f"no bot answered about the player: {reason}", RETRY_S)

    def _next(self, asked: set[str]) -> ReadyBot | None:
        """Return the bot whose turn it is; it is the last in turn then."""
        for bot_id, bot in self._bots.items():
            if bot_id not in asked:
                self._bots.move_to_end(bot_id)
                return bot
        return None

    async def _ask(self, bot: ReadyBot, fetch: PlayerQuery, *, attempts: int) -> bytes:
        """Ask a bot within its share of the time: `attempts` share it. Raises _AttemptFailed."""
        now = self._clock.now()
        timeout_s = max(0.0, fetch.deadline - now) / attempts
        deadline = now + timeout_s + BOT_GRACE_S
        try:
            if isinstance(fetch, FetchProfile):
                card = await bot.address.ask(
                    ServeProfile(fetch.account_id, timeout_s, fetch.request_id), deadline=deadline
                )
                return self._decoder.card(fetch.account_id, card)
            names = await bot.address.ask(
                ServeAliases(fetch.steam_ids, timeout_s, fetch.request_id), deadline=deadline
            )
            return self._decoder.aliases(fetch.steam_ids, names)
        except TimeoutError:
            raise _AttemptFailed("silence") from None
        except (SteamError, LocalProtocolError, DecodeError) as error:
            raise _AttemptFailed(str(error)) from error
