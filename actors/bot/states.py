"""BotState, BotEvent and the transition table.

waiting_for_account ─► connecting ─► authenticating ─► launching ⇄ ready
            ▲                  │               │               │         │
            └── (next run) ── backing_off ◄────┴───────────────┴─────────┤
                               needs_human ◄───┴───────────────┴─────────┤
                               exhausted ◄───────────────────────────────┘

Any state except `stopped` may change to draining. `backing_off` and `parked` are states between two runs;
a run ends in `exhausted`, `needs_human`, `backing_off` or `stopped`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from actors.errors import IllegalTransition


class BotState(enum.StrEnum):
    """State of a bot; the words of `/status`."""

    WAITING_FOR_ACCOUNT = "waiting_for_account"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    LAUNCHING = "launching"
    READY = "ready"
    EXHAUSTED = "exhausted"
    NEEDS_HUMAN = "needs_human"
    BACKING_OFF = "backing_off"
    PARKED = "parked"
    DRAINING = "draining"
    STOPPED = "stopped"


class BotEvent(enum.StrEnum):
    """Event that changes the state of a bot."""

    CHECKED_OUT = "checked_out"
    CONNECTED = "connected"
    LOGGED_ON = "logged_on"
    WELCOMED = "welcomed"
    GC_LOST = "gc_lost"
    BUDGET_SPENT = "budget_spent"
    OPERATOR_NEEDED = "operator_needed"
    FAILED = "failed"
    STOP_REQUESTED = "stop_requested"
    ENDED = "ended"
    RESTARTED = "restarted"
    GIVEN_UP = "given_up"


_S, _E = BotState, BotEvent

_IN_SESSION: Final = {
    _E.OPERATOR_NEEDED: _S.NEEDS_HUMAN,
    _E.FAILED: _S.BACKING_OFF,
    _E.STOP_REQUESTED: _S.DRAINING,
}
_BETWEEN_RUNS: Final = {_E.RESTARTED: _S.WAITING_FOR_ACCOUNT, _E.STOP_REQUESTED: _S.DRAINING}
TRANSITIONS: Final[Mapping[BotState, Mapping[BotEvent, BotState]]] = {
    _S.WAITING_FOR_ACCOUNT: {
        _E.CHECKED_OUT: _S.CONNECTING,
        _E.FAILED: _S.BACKING_OFF,
        _E.STOP_REQUESTED: _S.DRAINING,
    },
    _S.CONNECTING: {_E.CONNECTED: _S.AUTHENTICATING, **_IN_SESSION},
    _S.AUTHENTICATING: {_E.LOGGED_ON: _S.LAUNCHING, **_IN_SESSION},
    _S.LAUNCHING: {_E.WELCOMED: _S.READY, **_IN_SESSION},
    _S.READY: {_E.GC_LOST: _S.LAUNCHING, _E.BUDGET_SPENT: _S.EXHAUSTED, **_IN_SESSION},
    _S.EXHAUSTED: _BETWEEN_RUNS,
    _S.NEEDS_HUMAN: _BETWEEN_RUNS,
    _S.BACKING_OFF: {
        _E.RESTARTED: _S.WAITING_FOR_ACCOUNT,
        _E.GIVEN_UP: _S.PARKED,
        _E.STOP_REQUESTED: _S.STOPPED,
    },
    _S.PARKED: {_E.RESTARTED: _S.WAITING_FOR_ACCOUNT, _E.STOP_REQUESTED: _S.STOPPED},
    _S.DRAINING: {_E.ENDED: _S.STOPPED},
    _S.STOPPED: {},
}


def next_state(state: BotState, event: BotEvent) -> BotState:
    """Return the state after `event`.

    Raises:
        IllegalTransition: the table has no such transition, which is a bug.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(state, event) from None
