"""The choice of bots that leave a fleet that shrinks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.bot.messages import BotReport
from actors.bot.states import BotState
from supervisor.app.fleet import choose_leaving


def report(bot_id: str, state: BotState, account: str | None) -> BotReport:
    return BotReport(bot_id, state, 0.0, account, 0, None, None)


FLEET = {
    one.bot_id: one
    for one in (
        report("bot-1", BotState.READY, "a"),
        report("bot-2", BotState.READY, "b"),
        report("bot-3", BotState.READY, "c"),
        report("bot-4", BotState.AUTHENTICATING, "d"),
        report("bot-5", BotState.WAITING_FOR_ACCOUNT, None),
        report("bot-6", BotState.READY, "e"),
    )
}
LOADS = {"bot-1": 2, "bot-2": 0, "bot-3": 1, "bot-6": 0}
ORDER = ["bot-7", "bot-5", "bot-4", "bot-6", "bot-2", "bot-3", "bot-1"]


def test_those_leave_first_that_are_missed_least() -> None:
    present = [*FLEET, "bot-7"]  # which has said nothing yet
    assert choose_leaving(present, FLEET, LOADS, 7) == ORDER


@given(st.integers(0, 7))
def test_as_many_leave_as_shall(number: int) -> None:
    assert choose_leaving([*FLEET, "bot-7"], FLEET, LOADS, number) == ORDER[:number]


def test_without_any_knowledge_the_last_that_came_leave() -> None:
    assert choose_leaving(["bot-1", "bot-2", "bot-3"], {}, {}, 2) == ["bot-3", "bot-2"]
