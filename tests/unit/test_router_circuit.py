"""The circuit breaker of an account, step by step."""

from __future__ import annotations

from actors.circuit import LONGEST_PAUSE_S, OPENS_AFTER, PAUSE_S, Circuits, Step


def opened(circuits: Circuits) -> None:
    for _ in range(OPENS_AFTER - 1):
        assert circuits.silent("axe", is_probe=False, others_answer=False) is Step.NOTHING
    assert circuits.silent("axe", is_probe=False, others_answer=False) is Step.PAUSE


def probe(circuits: Circuits, *, others_answer: bool = False) -> Step:
    return circuits.silent("axe", is_probe=True, others_answer=others_answer)


def test_silences_in_a_row_open_it_and_others_are_not_concerned() -> None:
    circuits = Circuits()
    opened(circuits)
    assert circuits.pause_s("axe") == PAUSE_S
    assert circuits.silent("bane", is_probe=False, others_answer=False) is Step.NOTHING


def test_an_answer_in_between_closes_it() -> None:
    circuits = Circuits()
    for _ in range(OPENS_AFTER * 3):
        assert circuits.silent("axe", is_probe=False, others_answer=True) is Step.NOTHING
        circuits.answered("axe")


def test_a_probe_in_vain_asks_for_a_new_log_on_once() -> None:
    circuits = Circuits()
    opened(circuits)
    assert probe(circuits) is Step.RELOG
    opened(circuits)
    assert probe(circuits) is not Step.RELOG


def test_after_the_new_log_on_the_account_goes_if_others_are_answered() -> None:
    circuits = Circuits()
    opened(circuits)
    probe(circuits, others_answer=True)
    opened(circuits)
    assert probe(circuits, others_answer=True) is Step.ROTATE
    opened(circuits)  # from the beginning, should it come back
    assert probe(circuits, others_answer=True) is Step.RELOG


def test_when_nobody_is_answered_the_probes_come_less_and_less_often() -> None:
    circuits = Circuits()
    opened(circuits)
    probe(circuits)
    pauses = []
    for _ in range(5):
        assert probe(circuits) is Step.PAUSE
        pauses.append(circuits.pause_s("axe"))
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
    circuits.answered("axe")
    assert circuits.pause_s("axe") == PAUSE_S
