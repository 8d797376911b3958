"""Every subscriber of the registry gets every change of a bot; a late one gets the latest of each bot."""

from __future__ import annotations

from dataclasses import replace

import structlog
from support.fake_clock import FakeClock

from actors.actor import Address
from actors.bot.messages import BotChanged, BotRemoved, ReadyBot
from actors.bot.registry import BotRegistry
from actors.bot.states import BotState
from actors.errors import ActorStopped


class Subscriber:
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


def registry_of(clock: FakeClock, *subscribers: Subscriber) -> BotRegistry:
    registry = BotRegistry(stable_after_s=60.0, clock=clock, log=structlog.get_logger())
    for one in subscribers:
        registry.subscribe(one)
    return registry


def test_every_subscriber_hears_every_change(clock: FakeClock) -> None:
    subscribers = (Subscriber("a"), Subscriber("b"))
    registry_of(clock, *subscribers).changed(change("bot-1", BotState.READY))
    assert subscribers[0].heard == subscribers[1].heard == [change("bot-1", BotState.READY)]


def test_a_subscriber_that_was_away_catches_up_with_the_latest_of_every_bot(
    clock: FakeClock,
) -> None:
    router, other = Subscriber("router"), Subscriber("players")
    registry = registry_of(clock, router, other)
    router.is_away = True
    for state in (BotState.CONNECTING, BotState.READY):
        registry.changed(change("bot-1", state))
    registry.changed(change("bot-2", BotState.PARKED))
    registry.changed(change("bot-3", BotState.READY))
    registry.remove("bot-3")
    assert len(other.heard) == 5
    assert other.heard[-1] == BotRemoved("bot-3")
    router.is_away = False
    registry.subscribe(router)
    assert router.heard == [change("bot-1", BotState.READY), change("bot-2", BotState.PARKED)]


def test_a_repeated_subscription_tells_nothing_twice(clock: FakeClock) -> None:
    router = Subscriber("router")
    registry = registry_of(clock, router, router)
    registry.changed(change("bot-1", BotState.READY))
    assert router.heard == [change("bot-1", BotState.READY)]


async def test_the_next_run_of_a_bot_is_published_with_its_state(clock: FakeClock) -> None:
    router, late = Subscriber("router"), Subscriber("late")
    registry = registry_of(clock, router)
    for state in (BotState.EXHAUSTED, BotState.NEEDS_HUMAN, BotState.BACKING_OFF):
        registry.changed(change("bot-1", state))
        registry.supervised("bot-1", BotState.BACKING_OFF, next_try_in=30.0)
        assert router.heard[-1] == replace(change("bot-1", state), goes_on_in=30.0)
    await clock.advance(10.0)
    registry.subscribe(late)
    assert late.heard == [BotChanged("bot-1", BotState.BACKING_OFF, goes_on_in=20.0)]
    count = len(router.heard)
    registry.supervised("bot-1", None)  # the next run begins
    assert len(router.heard) == count


def test_a_bot_that_crashed_is_no_longer_ready(clock: FakeClock) -> None:
    router = Subscriber("router")
    registry = registry_of(clock, router)
    ready_bot = ReadyBot("bot-1", "axe", 1, None, Address("bot-1"))
    registry.changed(BotChanged("bot-1", BotState.READY, "axe", ready_bot=ready_bot))
    registry.supervised("bot-1", BotState.BACKING_OFF, next_try_in=1.0)
    assert router.heard[-1] == BotChanged("bot-1", BotState.BACKING_OFF, goes_on_in=1.0)
