"""Asks the router on a client's behalf: what the client wants, how long it waits, how it ranks."""

from __future__ import annotations

from typing import Final, NamedTuple

from aiohttp import hdrs, web

from actors.actor import Address
from actors.clock import Clock
from actors.errors import ActorStopped, Busy, MailboxFull, NotReady, TimedOut
from actors.http.client import Client, client_of
from actors.http.inputs import parse_timeout
from actors.http.request_ids import request_id_of
from actors.matches.answer import MatchAnswer
from actors.messages import FetchMatch, RouterMessage

ROUTER_GRACE_S: Final = 0.25
TIMEOUT_HEADER: Final = "X-Request-Timeout"


class Wish(NamedTuple):
    """What one HTTP request says about the matches it asks for."""

    client: Client
    timeout_s: float  # for each of them
    refresh: bool
    request_id: str


class MatchAsker:
    """Asks; `deadline_s` is how long a client waits for a match at most."""

    def __init__(self, router: Address[RouterMessage], *, deadline_s: float, clock: Clock) -> None:
        self._router = router
        self._deadline_s = deadline_s
        self._clock = clock

    def change_deadline(self, deadline_s: float) -> None:
        """Let those who ask from now on wait that long at most."""
        self._deadline_s = deadline_s

    def wish(self, request: web.Request) -> Wish:
        """Read what `request` wants.

        Raises:
            InvalidRequest: its time limit is no number of seconds.
        """
        client, timeout_s = client_of(request), self._deadline_s
        if (text := request.headers.get(TIMEOUT_HEADER)) is not None:
            timeout_s = min(timeout_s, parse_timeout(text))
        refresh = client.may_refresh and _is_no_cache(request)
        return Wish(client, timeout_s, refresh, request_id_of(request))

    async def fetch(self, match_id: int, wish: Wish) -> MatchAnswer:
        """Return the match. A client that goes away cancels this, and with it the errand.

        Raises:
            RequestError: as the router has it, or it has no answer in time.
        """
        deadline = self._clock.now() + wish.timeout_s
        fetch = FetchMatch(
            match_id,
            deadline,
            client=wish.client.name,
            priority=wish.client.priority,
            refresh=wish.refresh,
            request_id=wish.request_id,
        )
        try:
            # The router keeps the deadline and knows best why; the time on top is for its answer.
            return await self._router.ask(fetch, deadline=deadline + ROUTER_GRACE_S)
        except TimeoutError:
            raise TimedOut("no bot had an answer within the deadline", 5.0) from None
        except MailboxFull:
            raise Busy("too many requests at once; try again soon", 1.0) from None
        except ActorStopped:
            raise NotReady("the service is starting or stopping", 5.0) from None


def _is_no_cache(request: web.Request) -> bool:
    directives = request.headers.get(hdrs.CACHE_CONTROL, "").lower().split(",")
    return "no-cache" in (directive.strip() for directive in directives)
