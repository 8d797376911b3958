"""Gets matches for HTTP routes: from memory, else from the router."""

from __future__ import annotations

import contextlib
import math
from typing import Final, NamedTuple, TypeVar

from aiohttp import hdrs, web
from multidict import istr

from actors.actor import Address, Ask
from actors.bot.messages import ReadyBot
from actors.clock import Clock
from actors.errors import (
    ActorStopped,
    Busy,
    LocalProtocolError,
    MailboxFull,
    NotReady,
    RequestError,
    TimedOut,
)
from actors.http.auth.clients import Client, client_of
from actors.http.errors import TABLE
from actors.http.headers import request_id_of
from actors.http.metrics import MatchMetrics
from actors.http.openapi.inputs import TIMEOUT
from actors.matches.cache import MatchCache
from actors.matches.match import MatchAnswer, NoMatch
from actors.router.messages import FetchMatch, GetAsked, RouterMessage
from actors.router.metrics import Lookup, RouterMetrics

ROUTER_GRACE_S: Final = 0.25  # beyond the deadline, for the router's answer
ASKED_S: Final = 0.1
TIMEOUT_HEADER: Final = istr(TIMEOUT.name)

M = TypeVar("M")
R = TypeVar("R")


class Options(NamedTuple):
    """How an HTTP request wants its matches."""

    client: Client
    timeout_s: float  # for each match
    refresh: bool
    request_id: str


class MatchFetcher:
    """Gets matches from memory, else from the router; `deadline_s` limits the wait for one match."""

    def __init__(
        self,
        router: Address[RouterMessage],
        memory: MatchCache,
        *,
        deadline_s: float,
        router_metrics: RouterMetrics,
        metrics: MatchMetrics,
        clock: Clock,
    ) -> None:
        self._router = router
        self.memory = memory
        self._deadline_s = deadline_s
        self._router_metrics = router_metrics
        self._metrics = metrics
        self._clock = clock

    def reconfigure(self, deadline_s: float) -> None:
        """Limit the wait of later requests to `deadline_s`."""
        self._deadline_s = deadline_s

    def options(self, request: web.Request) -> Options:
        """Return the options in the headers of `request`.

        Raises:
            InvalidRequest: its time limit is not a number of seconds.
        """
        client, timeout_s = client_of(request), self._deadline_s
        if (text := request.headers.get(TIMEOUT_HEADER)) is not None:
            timeout_s = min(timeout_s, TIMEOUT.parse(text))
        directives = request.headers.get(hdrs.CACHE_CONTROL, "").lower().split(",")
        refresh = client.may_refresh and "no-cache" in (one.strip() for one in directives)
        return Options(client, timeout_s, refresh, request_id_of(request))

    async def fetch(
        self, match_id: int, options: Options, *, patience_s: float = math.inf
    ) -> MatchAnswer:
        """Return the match. Cancelling this call, as a disconnect does, cancels the router's request.

        `patience_s`: stop waiting after that many seconds, as if the client had disconnected. The router
        gets the usual deadline, so that it spends no more on the match than for other requests.

        Raises:
            RequestError: of the router, or `TimedOut`.
        """
        try:
            answer = await self._fetch(match_id, options, patience_s)
        except RequestError as error:
            self._metrics.answered(TABLE[type(error)][1])
            raise
        self._metrics.answered()
        return answer

    def count_cached(self) -> None:
        """Count a match that was answered from memory without `fetch`."""
        self._router_metrics.looked_up(Lookup.MEMORY)
        self._metrics.answered()

    async def asked_last(self, match_id: int) -> ReadyBot | None:
        """Return the bot that was asked last for a match that the router still fetches."""
        deadline = self._clock.now() + ASKED_S
        with contextlib.suppress(TimeoutError, LocalProtocolError):
            return await self._router.ask(GetAsked(match_id), deadline=deadline)
        return None

    async def _fetch(self, match_id: int, options: Options, patience_s: float) -> MatchAnswer:
        wall = self._clock.wall()
        if not options.refresh and (known := self.memory.get(match_id, wall)) is not None:
            self._router_metrics.looked_up(Lookup.MEMORY)
            if isinstance(known, NoMatch):
                raise known.error(wall)
            return known
        now = self._clock.now()
        deadline = now + options.timeout_s
        fetch = FetchMatch(
            match_id,
            deadline,
            client=options.client.name,
            priority=options.client.priority,
            refresh=options.refresh,
            request_id=options.request_id,
        )
        # The router keeps the deadline and knows the reason of a failure: wait a little longer for it.
        until = min(deadline + ROUTER_GRACE_S, now + patience_s)
        return await ask_in_time(self._router, fetch, until=until)


async def ask_in_time(actor: Address[M], question: Ask[R], *, until: float) -> R:
    """Return an actor's answer by the instant `until`.

    Raises:
        RequestError: the actor's answer, or the actor is late, overloaded or stopped.
    """
    try:
        return await actor.ask(question, deadline=until)
    except TimeoutError:
        raise TimedOut("no bot had an answer within the deadline", 5.0) from None
    except MailboxFull:
        raise Busy("too many requests at once; try again soon", 1.0) from None
    except ActorStopped:
        raise NotReady("the service is starting or stopping", 5.0) from None
