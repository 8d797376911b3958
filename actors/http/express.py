"""Known matches at once: the short way for requests that ask for a match and nothing else.

aiohttp makes a task, a request and a response of whatever comes in, and edge.py and the routes do their
part; all that takes ten times as long as to find the match in memory. What goes this way is admitted,
counted and logged just as there, and answered the same. Whatever is not as plain as that goes there:
another request, a match that is not in memory, a client that is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from email.utils import formatdate
from typing import Final

from aiohttp import hdrs
from structlog.typing import FilteringBoundLogger

from actors.clock import WallClock
from actors.errors import RequestError
from actors.http.auth.admission import Admission
from actors.http.auth.clients import Client
from actors.http.content import (
    HIT,
    JSON,
    X_CACHE,
    Representation,
    acceptable,
    age_s,
    cache_control,
    represent,
)
from actors.http.headers import HEADERS, ID_HEADER, new_request_id
from actors.http.openapi.operations import GET_MATCH, GET_MATCH_DETAILS
from actors.http.outcome import Count, Outcome, Record, request_facts
from actors.http.plain_head import PlainHead, read_plain_head
from actors.http.routes.match_fetcher import MatchFetcher
from actors.metrics import contained

OK: Final = 200


class Express:
    """Answers plain requests for known matches without aiohttp's request objects."""

    def __init__(
        self,
        admission: Admission,
        asker: MatchFetcher,
        *,
        clock: WallClock,
        record: Record,
        count: Count,
        log: FilteringBoundLogger,
    ) -> None:
        self._admission = admission
        self._asker = asker
        self._clock = clock
        self._record = record
        self._count = count
        self._note = contained(self._note_request, "requests", log=log)

    def __call__(self, data: bytes, peer: str) -> Sequence[bytes] | None:
        """Return the whole answer, in parts, to what `peer` sent; None where it goes the long way.

        It may be called with whatever comes where a request begins. With None, nothing was counted.
        """
        begun = self._clock.now()
        head = read_plain_head(data)
        if head is None:
            return None
        media_type = _media_type(head)
        wall = self._clock.wall()
        answer = self._asker.recall(head.match_id, wall)
        if answer is None or media_type is None:
            return None
        if not self._admission.browsers.allows_host(head.headers.host):
            return None
        address = self._admission.address_from(peer, head.headers.forwarded)
        try:
            client = self._admission.admit_plain(head.headers.key, address)
        except RequestError:  # refused there, with the reason
            return None
        request_id = new_request_id()
        shown = represent(answer, media_type, head.headers.accept_encoding)
        control = cache_control(answer, shows_credential=head.headers.key is not None)
        lines = (
            f"{hdrs.AGE}: {age_s(answer, wall)}\r\n{hdrs.DATE}: {_date(int(wall))}\r\n"
            f"{ID_HEADER}: {request_id}\r\n\r\n"
        )
        parts = _beginning(shown, control), lines.encode(), shown.body
        self._asker.count_recalled()
        route = (GET_MATCH_DETAILS if head.is_by_query else GET_MATCH).path
        self._note(
            head,
            Outcome(route, OK, self._clock.now() - begun, source=answer.source),
            request_id=request_id,
            address=address,
            client=client,
        )
        return parts

    def _note_request(
        self, head: PlainHead, outcome: Outcome, *, request_id: str, address: str, client: Client
    ) -> None:
        self._count(outcome)
        match_id = str(head.match_id)
        facts = request_facts(
            method=hdrs.METH_GET,
            path=GET_MATCH_DETAILS.path if head.is_by_query else f"/matches/{match_id}",
            match_id=match_id,
            outcome=outcome,
            request_id=request_id,
            address=address,
            client=client,
        )
        self._record("info", facts)


def _media_type(head: PlainHead) -> str | None:
    media_type = acceptable(head.headers.accept)
    # As the routes have it: the seed's answers with JSON whatever is accepted.
    return JSON if media_type is None and head.is_by_query else media_type


def _beginning(shown: Representation, control: str) -> bytes:
    return _packed(tuple(shown.head.items()), len(shown.body), control)


@functools.lru_cache(1024)
def _packed(head: tuple[tuple[str, str], ...], length: int, control: str) -> bytes:
    """Return all of the head that is the same for every request of one representation."""
    headers = {
        **dict(head),
        **dict(HEADERS),
        hdrs.CONTENT_LENGTH: str(length),
        hdrs.CACHE_CONTROL: control,
        X_CACHE: HIT,
    }
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return "".join(("HTTP/1.1 200 OK\r\n", *lines)).encode()


@functools.lru_cache(1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
