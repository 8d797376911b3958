"""The line that every request has, written in a hurry.

It is the one event that may come thousands of times per second, and on structlog's way it would cost as
much as an answer from memory. Where lines are JSON it is written straight from the facts; the result is
the same line. Where they are for people, nobody is in a hurry.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger

from supervisor import logs

EVENT: Final = "request_answered"
ACTOR: Final = "http"
AS_A_LINE: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
CLIENTS_WORDS: Final = ("path", "match_id", "request_id")  # so there may be secrets in them


class RequestLog:
    """See the module. Called on the event loop's thread."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log.bind(actor=ACTOR)

    def __call__(self, level: str, facts: dict[str, Any]) -> None:
        """Write one line; `level` as in the settings, `facts` are plain values, ours from now on."""
        if not logs.is_logged(level):
            return
        output = logs.direct_output()
        if output is None:
            getattr(self._log, level)(EVENT, **facts)
            return
        for key in CLIENTS_WORDS:
            if (word := facts[key]) is not None:
                facts[key] = logs.without_secrets(word)
        facts["actor"], facts["event"], facts["level"] = ACTOR, EVENT, level
        facts["timestamp"] = datetime.now(UTC)
        output.write_soon(orjson.dumps(facts, option=AS_A_LINE).decode())
