"""Parses the heads of plain requests for one match, as bytes.

A client sends the same head with every request, except for the match ID in the first line. So the first
line is matched as a whole, and the headers below it are parsed once and then recognised byte by byte.

The parser is strict on purpose. A head with a header that is not listed here, that occurs twice, or that
does not have the usual form is not plain: then aiohttp's parser handles the request.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

END: Final = b"\r\n\r\n"
LONGEST_HEADERS: Final = 2048  # bytes
_FIRST_LINE: Final = re.compile(
    rb"GET (/match-details\?match_id=|/matches/)([1-9][0-9]{0,12}) HTTP/1\.1\r\n"
)
_BY_QUERY: Final = b"/match-details?match_id="
_HEADER: Final = re.compile(r"([A-Za-z-]+): ([!-~](?:[ -~]*[!-~])?)")
# Ignored: these headers affect neither the response nor the log.
_IGNORED: Final = frozenset(
    {
        *("user-agent", "accept-language", "x-real-ip"),
        *("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"),
        *("sec-fetch-mode", "sec-fetch-dest"),  # they count only beside sec-fetch-site
    }
)
_READ: Final = frozenset({"host", "accept", "accept-encoding", "x-forwarded-for", "x-api-key"})
_KEPT_OPEN: Final = ("connection", "keep-alive")  # what HTTP/1.1 means anyhow


class PlainHeaders(NamedTuple):
    """What the headers say: "" where nothing does."""

    accept: str
    accept_encoding: str
    forwarded: str
    key: str | None  # None where none is shown
    host: str


class PlainHead(NamedTuple):
    """A request for one match."""

    match_id: int
    is_by_query: bool  # else by its path
    headers: PlainHeaders


def read_plain_head(data: bytes) -> PlainHead | None:
    """Read one whole head, with nothing behind it; None where it is not plain."""
    found = _FIRST_LINE.match(data)
    if found is None or len(data) - found.end() > LONGEST_HEADERS:
        return None
    headers = _plain_headers(data[found.end() :])
    if headers is None:
        return None
    return PlainHead(int(found[2]), found[1] == _BY_QUERY, headers)


@functools.lru_cache(1024)
def _plain_headers(block: bytes) -> PlainHeaders | None:
    if not block.endswith(END):
        return None
    said: dict[str, str] = {}
    for line in block.removesuffix(END).decode("latin-1").split("\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None or (name := header[1].lower()) in said:
            return None
        if name not in _IGNORED and name not in _READ and (name, header[2].lower()) != _KEPT_OPEN:
            return None
        said[name] = header[2]
    if "host" not in said:
        return None
    return PlainHeaders(
        said.get("accept", ""),
        said.get("accept-encoding", ""),
        said.get("x-forwarded-for", ""),
        said.get("x-api-key"),
        said["host"],
    )
