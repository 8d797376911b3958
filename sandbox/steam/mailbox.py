"""Mailboxes of the accounts, for e-mail Steam Guard codes."""

from __future__ import annotations

import time
from typing import Any


class Mailbox:
    """Every mail ever sent, oldest first."""

    def __init__(self) -> None:
        self._mails: list[dict[str, Any]] = []

    def deliver(self, account: str, code: str) -> None:
        """Send one code."""
        self._mails.append({"account": account, "code": code, "t": time.time()})

    def read(self, account: str | None = None) -> list[dict[str, Any]]:
        """Return the mails of one account, or all."""
        return [mail for mail in self._mails if account is None or mail["account"] == account]
