"""The bot's transition table: complete, reachable, strict about illegal events."""

from __future__ import annotations

import itertools

import pytest

from actors.bot.states import TRANSITIONS, BotEvent, BotState, next_state
from actors.errors import IllegalTransition

LEGAL = [
    (state, event, after) for state, row in TRANSITIONS.items() for event, after in row.items()
]
ILLEGAL = [
    (state, event)
    for state, event in itertools.product(BotState, BotEvent)
    if event not in TRANSITIONS[state]
]


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(BotState)


def test_every_state_is_reached_from_the_first() -> None:
    reached = {BotState.WAITING_FOR_ACCOUNT}
    while more := {after for state, _, after in LEGAL if state in reached} - reached:
        reached |= more
    assert reached == set(BotState)


def test_every_event_is_used() -> None:
    assert {event for _, event, _ in LEGAL} == set(BotEvent)


def test_every_state_that_can_be_entered_can_be_stopped() -> None:
    for state in set(BotState) - {BotState.DRAINING, BotState.STOPPED}:
        assert BotEvent.STOP_REQUESTED in TRANSITIONS[state], state


@pytest.mark.parametrize(("state", "event", "after"), LEGAL)
def test_a_legal_event_leads_where_the_table_says(
    state: BotState, event: BotEvent, after: BotState
) -> None:
    assert next_state(state, event) is after


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_an_illegal_event_is_refused_by_name(state: BotState, event: BotEvent) -> None:
    with pytest.raises(IllegalTransition, match=f"^no transition from {state} on {event}$"):
        next_state(state, event)
