"""What the commands know of the running service: where it is, and the two ways in which it fails them.

Light on purpose: `api_client.py`, which speaks HTTP, takes long to import.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from supervisor.settings_errors import without_password


class ApiUnreachable(Exception):
    """The service does not answer at the address, or not in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"no answer from {without_password(url)}: {reason}")


class ApiRefused(Exception):
    """The service answered with an error: status, word for programs, sentence, seconds to wait."""

    def __init__(self, status: int, word: str, message: str, retry_after: float | None) -> None:
        self.status = status
        self.word = word
        self.message = message
        self.retry_after = retry_after
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service is, and the key or token to show there."""

    url: str
    token: str | None = field(default=None, repr=False)
