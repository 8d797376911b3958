"""What schemathesis must know of this API; it loads this file by itself (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, ServerError
from schemathesis.openapi.checks import RejectedPositiveData

LARGEST_FLEET = 1000
TIMEOUT = "X-Request-Timeout"
PATIENCE_S = 30.0
BOTS = (4, 6)  # a fleet of one, which may be parked, or of a thousand would change what is answered
STEAM_REFUSED = 502  # it is Steam's answer, and described; schemathesis takes every 5xx for a bug
# Orders to bots and accounts that exist go to these alone: orders to all leave no bot that answers.
ORDERED = {"bot_id": (re.compile(r"bot-\d+"), "bot-1"), "name": (re.compile(r"bot\d+"), "bot0000")}
UNKNOWN_HEADER = "x-schemathesis-unknown-property"


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Wait longer than a moment, which is tested elsewhere, and leave some bots to answer."""
    for key, (exists, ordered) in ORDERED.items():
        if exists.fullmatch(str((case.path_parameters or {}).get(key))):
            case.path_parameters[key] = ordered
    with contextlib.suppress(TypeError, ValueError, KeyError):
        if 0 < float(case.headers[TIMEOUT]) < PATIENCE_S:
            case.headers[TIMEOUT] = str(PATIENCE_S)
    with contextlib.suppress(TypeError, KeyError):
        if case.path == "/admin/fleet/scale" and case.body["count"] in range(1, LARGEST_FLEET + 1):
            case.body["count"] = min(max(BOTS[0], case.body["count"]), BOTS[1])


@schemathesis.hook
def filter_failure(_context: Any, failure: Any, case: Any, _response: Any) -> bool:
    """Drop what is no failure: unknown headers are to be ignored (RFC 9110, section 5.1).

    schemathesis knows that too, but takes a number in a header for a text and so for the real mistake.
    And it hands names of accounts over as account ids, because they are called alike.
    """
    if isinstance(failure, ServerError) and failure.status_code == STEAM_REFUSED:
        return False
    handed_over = (case.path_parameters or {}).get("account_id", 1)
    if isinstance(failure, RejectedPositiveData) and not isinstance(handed_over, int):
        return False
    is_unknown = UNKNOWN_HEADER in (case.headers or {})
    return not (is_unknown and isinstance(failure, AcceptedNegativeData))
