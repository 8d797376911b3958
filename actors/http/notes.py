"""What a handler notes on its answer for those who count and log answers, beside what the client gets."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from actors.matches.answer import Source

ERROR: Final = web.ResponseKey("error", str)  # the error word
SOURCE: Final = web.ResponseKey("source", Source)  # where the data came from


def noted(answer: web.Response, source: Source) -> web.Response:
    """Return the answer, with where its data came from."""
    answer[SOURCE] = source
    return answer
