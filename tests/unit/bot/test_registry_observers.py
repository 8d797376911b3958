"""The announcer: every watcher gets every change of a bot, a late watcher the latest of each bot."""

from __future__ import annotations

import structlog

from actors.bot.messages import BotChanged, BotRemoved
from actors.bot.registry import Announcer
from actors.bot.states import BotState
from actors.errors import ActorStopped


class Watcher:
    """Listens, unless it is away."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[BotChanged | BotRemoved] = []
        self.is_away = False

    def tell(self, message: BotChanged | BotRemoved) -> None:
        if self.is_away:
            raise ActorStopped(self.name)
        self.heard.append(message)


def change(bot: str, state: BotState) -> BotChanged:
    return BotChanged(bot, state)


def test_every_watcher_hears_every_change() -> None:
    watchers = (Watcher("a"), Watcher("b"))
    announcer = Announcer(watchers, log=structlog.get_logger())
    announcer.publish(change("bot-1", BotState.READY))
    assert watchers[0].heard == watchers[1].heard == [change("bot-1", BotState.READY)]


def test_who_was_away_catches_up_with_the_latest_of_every_bot() -> None:
    watcher, other = Watcher("router"), Watcher("roster")
    announcer = Announcer((watcher, other), log=structlog.get_logger())
    watcher.is_away = True
    for state in (BotState.CONNECTING, BotState.READY):
        announcer.publish(change("bot-1", state))
    announcer.publish(change("bot-2", BotState.PARKED))
    announcer.publish(change("bot-3", BotState.READY))
    announcer.forget("bot-3")
    assert len(other.heard) == 5
    assert other.heard[-1] == BotRemoved("bot-3")
    watcher.is_away = False
    announcer.catch_up(watcher)
    assert watcher.heard == [change("bot-1", BotState.READY), change("bot-2", BotState.PARKED)]
