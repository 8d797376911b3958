"""Schedule of GC hellos; the time is an argument."""

from __future__ import annotations

import itertools
import random

import pytest

from actors.steam.gc import GcSession, HelloSchedule, WaitingSessions

SESSIONS = 300


def schedules(count: int, *, after_loss: bool) -> list[HelloSchedule]:
    rng = random.Random(7)
    return [HelloSchedule(0.0, rng, after_loss=after_loss) for _ in range(count)]


def hellos(schedule: HelloSchedule, until: float) -> list[float]:
    """Say hello whenever it is due; return the instants."""
    said = []
    while schedule.due_at < until:
        now = schedule.due_at
        schedule.must_restart_game(now)
        schedule.sent(now)
        said.append(now)
    return said


def test_the_first_hello_of_a_launch_is_sent_at_once_and_the_next_ones_soon() -> None:
    (schedule,) = schedules(1, after_loss=False)
    said = hellos(schedule, 30.0)
    assert said[0] == 0.0
    assert said[1] <= 0.6
    assert 4 <= len(said) <= 7


def test_sessions_that_were_lost_together_do_not_say_hello_together() -> None:
    first = sorted(one.due_at for one in schedules(SESSIONS, after_loss=True))
    assert first[0] > 0.0
    assert 0.9 < first[-1] <= 1.2
    # At most a quarter of them within 0.1 s.
    assert max(sum(at <= one < at + 0.1 for one in first) for at in first) < SESSIONS / 4


def test_hellos_to_a_gc_that_goes_down_are_20_to_30_seconds_apart_and_out_of_step() -> None:
    group = schedules(12, after_loss=True)
    for one in group:
        one.answered(0.0, slow=True)
    first = sorted(one.due_at for one in group)
    assert first[0] < 12.0  # some session finds the GC back early
    assert first[-1] - first[0] > 10.0
    for one in group:
        said = []
        while one.due_at < 300.0:
            said.append(one.due_at)
            one.sent(one.due_at)
            one.answered(said[-1], slow=True)  # it is still going down
        gaps = [later - sooner for sooner, later in itertools.pairwise(said)]
        assert all(19.99 <= gap <= 30.01 for gap in gaps)


def test_the_game_is_restarted_after_a_minute_without_an_answer_then_ever_more_rarely() -> None:
    (schedule,) = schedules(1, after_loss=True)
    restarts = [now for now in range(600) if schedule.must_restart_game(float(now))]
    assert restarts == [60, 180, 420]


def test_an_answer_counts_as_one_whatever_it_says() -> None:
    (schedule,) = schedules(1, after_loss=True)
    for now in range(0, 600, 30):
        schedule.answered(float(now), slow=True)
        assert not schedule.must_restart_game(now + 29.0)


def test_after_a_restart_of_the_game_hellos_come_quickly_again() -> None:
    (schedule,) = schedules(1, after_loss=False)
    hellos(schedule, 59.0)
    assert schedule.must_restart_game(60.0)
    schedule.sent(60.0)
    assert schedule.due_at <= 60.6


@pytest.mark.parametrize("delay_s", [0.1, 5.0])
def test_an_early_hello_is_never_later_than_the_planned_one(delay_s: float) -> None:
    (schedule,) = schedules(1, after_loss=False)
    schedule.sent(0.0)  # the next is due within a second
    planned = schedule.due_at
    assert not schedule.bring_forward(0.5, delay_s)  # a hello is out
    schedule.answered(0.5, slow=True)
    planned = schedule.due_at
    assert schedule.bring_forward(4.0, delay_s) is (4.0 + delay_s < planned)
    assert schedule.due_at == min(planned, 4.0 + delay_s)


def test_welcomes_in_turn_keep_the_distance_that_the_first_has_set() -> None:
    class Scheduled(GcSession):
        def __init__(self, schedule: HelloSchedule) -> None:
            self.schedule = schedule

        def bring_hello_forward(self, delay_s: float) -> None:
            self.schedule.bring_forward(now, delay_s)

    for seed in range(50):
        now, waiting = 0.0, WaitingSessions(random.Random(seed))
        left = [Scheduled(HelloSchedule(0.0, waiting.rng, after_loss=True)) for _ in range(12)]
        for one in left:
            one.schedule.answered(0.0, slow=True)
            one.schedule.due_at = 25.0
            waiting.add(one)
        now = first = 10.0
        while left:  # each is welcomed when it says hello
            one = min(left, key=lambda one: one.schedule.due_at)
            now = max(now, one.schedule.due_at) if len(left) < 12 else now
            left.remove(one)
            waiting.welcomed(one)
        assert 2.5 - 1e-6 <= now - first <= 2.75 + 1e-6


class Session(GcSession):
    def __init__(self) -> None:
        self.delays: list[float] = []

    def bring_hello_forward(self, delay_s: float) -> None:
        self.delays.append(delay_s)


@pytest.mark.parametrize(("count", "within_s"), [(2, 0.5), (12, 3.0), (300, 10.0)])
def test_a_welcome_brings_all_others_forward_one_after_the_other(
    count: int, within_s: float
) -> None:
    waiting = WaitingSessions(random.Random(3))
    sessions = [Session() for _ in range(count)]
    for one in sessions:
        waiting.add(one)
    waiting.welcomed(sessions[0])
    assert sessions[0].delays == []
    delays = [one.delays[0] for one in sessions[1:]]
    assert delays == sorted(delays)
    assert max(delays) <= within_s
    assert len(waiting) == count - 1
