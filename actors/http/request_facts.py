"""The line that every request has in the log: what is said of it, and who writes it down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from actors.http.client import Client
from actors.http.notes import Outcome

Record = Callable[[str, dict[str, Any]], None]  # level, facts; it may keep them
Count = Callable[[Outcome], None]

LONGEST_LOGGED: Final = 200  # characters of what a client wrote


def request_facts(
    *,
    method: str,
    path: str,
    match_id: str | None,
    outcome: Outcome,
    request_id: str,
    address: str,
    client: Client,
) -> dict[str, Any]:
    """Return what is said of one request."""
    facts = {
        "method": method,
        "path": short(path),
        "match_id": short(match_id),
        "status": outcome.status,
        "duration_s": round(outcome.took_s, 6),
        "request_id": request_id,
        "address": address,
    }
    # The name of a key, never the key; where there are no keys, it is the address again.
    if client.name and client.name != address:
        facts["client"] = client.name
    return facts


def short(text: str | None) -> str | None:
    r"""Return what a client wrote so that it can stand in a log line, whatever its bytes were.

    What is not printable is escaped: ESC is `\x1b`. Such a line may end up on a terminal.
    """
    if text is None or (text.isascii() and text.isprintable() and len(text) <= LONGEST_LOGGED):
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text[:LONGEST_LOGGED])


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", errors="backslashreplace").decode()
