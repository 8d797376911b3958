"""Writes the log line of each request, without structlog where the format is JSON.

This is the only event that may occur thousands of times per second, and structlog would take as long for
it as the service takes to answer from memory. In the JSON format the line is built directly from the
facts; the result is the same. structlog writes the lines of the console format.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from supervisor.logs import setup as logs
from supervisor.logs.redaction import without_secrets

EVENT: Final = "request_answered"
ACTOR: Final = "http"
AS_A_LINE: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
CLIENTS_WORDS: Final = ("path", "match_id", "request_id")  # so there may be secrets in them


class RequestLog:
    """Writes request lines. Call it on the event loop's thread."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log.bind(actor=ACTOR)

    def __call__(self, level: str, facts: dict[str, Any]) -> None:
        """Write one line; `level` as in the settings, `facts` are plain values, ours from now on."""
        if not logs.is_logged(level):
            return
        output = logs.direct_output()
        line = None if output is None else _line(level, facts)
        if output is None or line is None:
            getattr(self._log, level)(EVENT, **facts)
        else:
            output.write(line)


def _line(level: str, facts: dict[str, Any]) -> str | None:
    """Return the line; None where orjson refuses a value, e.g. half a character in a key's name."""
    for key in CLIENTS_WORDS:
        if (word := facts[key]) is not None:
            facts[key] = without_secrets(word)
    ours = {"actor": ACTOR, "event": EVENT, "level": level, "timestamp": datetime.now(UTC)}
    try:
        return orjson.dumps(facts | ours, option=AS_A_LINE).decode()
    except TypeError:
        return None
