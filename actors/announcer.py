"""Tells every change of a bot to all who watch the fleet, and the whole picture to one who joins late.

An actor that is restarted (a router after a bug, say) has lost what it was told; `catch_up` tells it
the latest change of every bot again.
"""

from __future__ import annotations

from typing import Protocol

from structlog.typing import FilteringBoundLogger

from actors.errors import LocalProtocolError
from actors.messages import BotChanged, BotRemoved


class Watcher(Protocol):
    """A receiver of bot changes, e.g. the `Address` of an actor."""

    @property
    def name(self) -> str:
        """Who it is, for the log."""

    def tell(self, message: BotChanged | BotRemoved) -> None:
        """Never waits."""


class Announcer:
    """Fan-out with a memory of one change per bot."""

    def __init__(self, watchers: tuple[Watcher, ...], *, log: FilteringBoundLogger) -> None:
        self._watchers = watchers
        self._log = log
        self._latest: dict[str, BotChanged] = {}

    def publish(self, change: BotChanged) -> None:
        """Tell every watcher; one that cannot listen now will catch up when it is back."""
        self._latest[change.bot_id] = change
        for watcher in self._watchers:
            self._tell(watcher, change)

    def forget(self, bot_id: str) -> None:
        """The bot does not exist any more: tell every watcher."""
        self._latest.pop(bot_id, None)
        for watcher in self._watchers:
            self._tell(watcher, BotRemoved(bot_id))

    def catch_up(self, watcher: Watcher) -> None:
        """Tell `watcher`, which has just started, how every bot is."""
        for change in self._latest.values():
            self._tell(watcher, change)

    def _tell(self, watcher: Watcher, change: BotChanged | BotRemoved) -> None:
        try:
            watcher.tell(change)
        except LocalProtocolError as error:
            self._log.warning("change_untold", watcher=watcher.name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a watcher's bug is no end of the bot it watches
            kind = type(error).__name__
            self._log.error(
                "observer_failed", observer=watcher.name, error_type=kind, exc_info=error
            )
