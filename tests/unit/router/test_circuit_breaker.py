"""The circuit breaker of an account, step by step."""

from __future__ import annotations

from actors.router.unanswered import (
    LONGEST_PAUSE_S,
    LONGEST_TRIAL_S,
    OPENS_AFTER,
    PAUSE_S,
    TRIAL_S,
    CircuitBreakers,
    Step,
)


def silent(
    circuits: CircuitBreakers,
    unanswered: int,
    *,
    account: str = "axe",
    now: float = 0.0,
    others_answer: bool = False,
) -> Step:
    return circuits.silent(
        account, now, unanswered=unanswered, is_half_open=False, others_answer=others_answer
    )


def opened(circuits: CircuitBreakers) -> None:
    """Open the circuit of an account that is silent while others are answered."""
    for count in range(1, OPENS_AFTER):
        assert silent(circuits, count, others_answer=True) is Step.NOTHING
    assert silent(circuits, OPENS_AFTER, others_answer=True) is Step.PAUSE


def probe(
    circuits: CircuitBreakers, *, others_answer: bool = True, account: str = "axe", now: float = 0.0
) -> Step:
    return circuits.silent(
        account, now, unanswered=0, is_half_open=True, others_answer=others_answer
    )


def test_silences_in_a_row_open_it_and_others_are_not_concerned() -> None:
    circuits = CircuitBreakers()
    opened(circuits)
    assert circuits.pause_s("axe") == PAUSE_S
    assert silent(circuits, 1, account="bane") is Step.NOTHING


def test_an_answer_closes_it() -> None:
    circuits = CircuitBreakers()
    opened(circuits)
    assert list(circuits.open) == ["axe"]
    circuits.answered("axe")
    assert not circuits.open


def test_a_probe_in_vain_asks_for_a_new_log_on_once() -> None:
    circuits = CircuitBreakers()
    opened(circuits)
    assert probe(circuits) is Step.RELOG
    opened(circuits)
    assert probe(circuits) is not Step.RELOG


def test_after_the_new_log_on_the_account_goes_if_others_are_answered() -> None:
    circuits = CircuitBreakers()
    opened(circuits)
    probe(circuits)
    opened(circuits)
    assert probe(circuits) is Step.ROTATE
    opened(circuits)  # from the beginning, should it come back
    assert probe(circuits) is Step.RELOG


def test_when_no_account_is_answered_one_at_a_time_tries_a_spare_account() -> None:
    circuits = CircuitBreakers()
    steps = [silent(circuits, OPENS_AFTER, account=name) for name in ("axe", "bane", "cm")]
    assert steps == [Step.SPARE, Step.PAUSE, Step.PAUSE]
    assert silent(circuits, OPENS_AFTER, account="dazzle", now=TRIAL_S) is Step.SPARE
    assert silent(circuits, OPENS_AFTER, account="es", now=2 * TRIAL_S) is Step.PAUSE
    assert silent(circuits, OPENS_AFTER, account="es", now=3 * TRIAL_S) is Step.SPARE


def test_a_gc_that_answers_no_account_costs_fewer_and_fewer_log_ons() -> None:
    """Ten bots for a day: as many trials of each kind as the pauses allow, not ten at a time."""
    circuits, day_s = CircuitBreakers(), 86_400.0
    names = [f"bot-{number}" for number in range(10)]
    counts = dict.fromkeys(Step, 0)
    for number in range(int(day_s / LONGEST_PAUSE_S)):
        for name in names:
            counts[
                probe(circuits, account=name, now=number * LONGEST_PAUSE_S, others_answer=False)
            ] += 1
    doublings = 5  # 60 s to 30 minutes
    most = day_s / LONGEST_TRIAL_S + doublings
    assert 1 <= counts[Step.RELOG] <= len(names)  # each once
    assert counts[Step.SPARE] <= most
    assert counts[Step.ROTATE] == 0  # none is to blame


def test_an_answer_of_any_account_allows_the_next_trial_at_once() -> None:
    circuits = CircuitBreakers()
    assert silent(circuits, OPENS_AFTER) is Step.SPARE
    circuits.answered("bane")
    assert silent(circuits, OPENS_AFTER, account="cm") is Step.SPARE


def test_when_no_account_is_answered_the_probes_come_less_and_less_often() -> None:
    circuits = CircuitBreakers()
    silent(circuits, OPENS_AFTER)
    assert circuits.pause_s("axe") == PAUSE_S
    pauses = []
    for _ in range(6):
        assert probe(circuits, others_answer=False) in (Step.PAUSE, Step.RELOG)
        pauses.append(circuits.pause_s("axe"))
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    circuits.answered("axe")
    assert circuits.pause_s("axe") == PAUSE_S


def test_beside_a_spare_account_that_is_answered_a_probe_in_vain_is_enough() -> None:
    circuits = CircuitBreakers()
    assert silent(circuits, OPENS_AFTER, account="bane") is Step.SPARE
    circuits.trial_won(10.0)
    assert silent(circuits, OPENS_AFTER, now=11.0, others_answer=True) is Step.PAUSE
    assert circuits.pause_s("axe") == 0.0
    assert probe(circuits, now=16.0, others_answer=False) is not Step.ROTATE
    assert circuits.pause_s("axe") > 0.0
    assert probe(circuits, now=17.0) is Step.ROTATE
    opened(circuits)
    assert probe(circuits, now=10.0 + TRIAL_S) is Step.RELOG  # as ever, after a while
