"""Fair rotation over ready bots, and their standing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actors.actor import Address
from actors.bot.messages import ReadyBot, RouterToBot
from actors.router.rotation import RoundRobin, Standing
from actors.router.unanswered import OPENS_AFTER


def ready_bot(number: int) -> ReadyBot:
    name = f"bot-{number}"
    return ReadyBot(name, f"account-{number}", number, None, Address[RouterToBot](name))


def test_seats_take_turns_in_order_of_last_use() -> None:
    turns = RoundRobin(max_in_flight=10, min_interval_s=0.0)
    for number in range(3):
        turns.add(ready_bot(number))
    taken = [turns.take(0.0) for _ in range(7)]
    assert [one.bot_id for one in taken if one] == [f"bot-{n % 3}" for n in range(7)]


def test_a_full_seat_is_passed_over_until_one_of_its_requests_ends() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    turns.add(ready_bot(0))
    taken = turns.take(0.0)
    assert taken is not None
    assert turns.take(0.0) is None
    turns.release(taken)
    assert turns.take(0.0) is taken


def test_a_seat_rests_between_two_requests() -> None:
    turns = RoundRobin(max_in_flight=5, min_interval_s=1.0)
    turns.add(ready_bot(0))
    assert turns.take(10.0) is not None
    assert turns.take(10.9) is None
    assert turns.next_rest_over(10.9) is not None
    assert turns.take(11.0) is not None


def test_a_seat_that_is_put_back_has_its_turn_still_and_need_not_rest() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=60.0)
    first, second = ready_bot(0), ready_bot(1)
    turns.add(first)
    turns.add(second)
    assert turns.take(100.0) is first
    turns.release(first, unused_since=100.0)
    assert turns.take(100.0) is first
    turns.release(first)
    assert turns.take(100.0) is second
    turns.release(second, unused_since=100.0)
    assert turns.take(159.9) is second
    turns.release(second)
    assert turns.take(160.0) is first


def test_a_seat_that_left_while_it_was_taken_is_not_put_back() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    turns.add(one)
    assert turns.take(0.0) is one
    turns.retire("bot-0", lambda: None)
    turns.release(one, unused_since=0.0)
    assert (turns.take(0.0), turns.loads()) == (None, {})


def test_a_seat_that_another_request_took_since_rests_from_then() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=10.0)
    turns.add(ready_bot(0))
    one = turns.take(0.0)
    assert one is not None
    assert turns.take(10.0) is one
    turns.release(one, unused_since=0.0)
    assert (turns.take(19.9), turns.take(20.0)) == (None, one)


def test_an_avoided_account_is_used_only_when_there_is_no_other() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    turns.add(ready_bot(0))
    turns.add(ready_bot(1))
    avoid = frozenset({"account-0"})
    first, second = turns.take(0.0, avoid), turns.take(0.0, avoid)
    assert first is not None
    assert second is not None
    assert (first.account, second.account) == ("account-1", "account-0")


def test_what_an_earlier_life_of_a_bot_gives_back_does_not_count_for_the_next() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    turns.add(ready_bot(0))
    old = turns.take(0.0)
    assert old is not None
    turns.remove("bot-0")
    turns.add(ready_bot(0))
    new = turns.take(0.0)
    assert new is not None
    turns.release(old)
    assert turns.take(0.0) is None


@given(st.integers(1, 30), st.integers(1, 200))
def test_rotation_is_fair_within_one(bots: int, requests: int) -> None:
    turns = RoundRobin(max_in_flight=10**6, min_interval_s=0.0)
    for number in range(bots):
        turns.add(ready_bot(number))
    used = Counter({f"bot-{n}": 0 for n in range(bots)})
    for _ in range(requests):
        taken = turns.take(0.0)
        assert taken is not None
        used[taken.bot_id] += 1
    assert max(used.values()) - min(used.values()) <= 1


@given(st.lists(st.sampled_from(["join", "leave", "take", "give", "put"]), max_size=80), st.data())
def test_no_seat_ever_carries_more_than_it_may(steps: list[str], data: st.DataObject) -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    out: list[ReadyBot] = []
    present: dict[str, ReadyBot] = {}
    for step in steps:
        number = data.draw(st.integers(0, 3))
        if step == "join":
            present[f"bot-{number}"] = ready_bot(number)
            turns.add(present[f"bot-{number}"])
        elif step == "leave":
            present.pop(f"bot-{number}", None)
            turns.remove(f"bot-{number}")
        elif step == "take" and (taken := turns.take(0.0)) is not None:
            assert present[taken.bot_id] is taken
            out.append(taken)
        elif step == "give" and out:
            turns.release(out.pop(data.draw(st.integers(0, len(out) - 1))))
        elif step == "put" and out:
            turns.release(out.pop(data.draw(st.integers(0, len(out) - 1))), unused_since=0.0)
        assert all(count <= 2 for count in Counter(id(one) for one in out).values())
        free = [one for one in present.values() if sum(taken is one for taken in out) < 2]
        assert len(turns) == len(present)
        if free:
            probe = turns.take(0.0)
            assert probe is not None
            turns.release(probe)


def test_other_limits_hold_for_the_seats_that_are_there() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=60.0)
    turns.add(ready_bot(0))
    taken = turns.take(0.0)
    assert taken is not None
    turns.reconfigure(max_in_flight=3, min_interval_s=0.0)
    assert [turns.take(0.0), turns.take(0.0), turns.take(0.0)] == [taken, taken, None]
    turns.reconfigure(max_in_flight=2, min_interval_s=0.0)
    turns.release(taken)
    assert turns.take(0.0) is None  # two are still in flight
    turns.release(taken)
    assert turns.take(0.0) is taken
    turns.release(taken)
    turns.reconfigure(max_in_flight=2, min_interval_s=5.0)
    assert (turns.take(4.9), turns.next_rest_over(4.0)) == (None, 1.0)


def test_a_retired_seat_is_not_taken_and_counted_until_it_has_nothing_in_flight() -> None:
    turns = RoundRobin(max_in_flight=5, min_interval_s=0.0)
    turns.add(ready_bot(0))
    turns.add(ready_bot(1))
    busy = turns.take(0.0)
    assert busy is not None
    assert turns.take(0.0) is not None
    idle: list[str] = []
    turns.retire("bot-0", lambda: idle.append("bot-0"))
    turns.retire("bot-2", lambda: idle.append("bot-2"))
    assert idle == ["bot-2"]
    assert turns.of_account("account-0") is None
    assert turns.loads() == {"bot-0": 1, "bot-1": 1}
    turns.release(busy)
    assert turns.loads() == {"bot-1": 1}
    turns.release(busy)
    assert turns.loads() == {"bot-1": 1}
    assert idle == ["bot-2", "bot-0"]


def test_a_deprioritised_bot_is_used_only_when_there_is_no_other() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    bad, good = ready_bot(0), ready_bot(1)
    turns.add(bad)
    turns.add(good)
    turns.set_standing(bad, Standing.DEPRIORITISED)
    assert turns.standing(bad) is Standing.DEPRIORITISED
    assert turns.take(0.0) is good
    assert turns.take(0.0) is None  # it will be back soon
    turns.release(good)
    assert turns.take(0.0, frozenset({"account-1"})) is bad
    turns.release(bad)
    turns.remove("bot-1")
    assert turns.take(0.0) is bad


def test_of_two_that_failed_before_the_one_of_good_standing_is_used() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    bad, good = ready_bot(0), ready_bot(1)
    turns.add(bad)
    turns.add(good)
    turns.set_standing(bad, Standing.DEPRIORITISED)
    both = frozenset({"account-0", "account-1"})
    assert turns.take_idle(0.0, both, answered_since=0.0) is None
    assert turns.take(0.0, both) is good


def test_a_bot_on_probation_gets_one_request_at_a_time_until_it_answers_in_time() -> None:
    turns = RoundRobin(max_in_flight=3, min_interval_s=0.0)
    one = ready_bot(0)
    turns.add(one)
    turns.set_standing(one, Standing.DEPRIORITISED)
    turns.end_standing(one, Standing.DEPRIORITISED)
    assert turns.standing(one) is Standing.PROBATION
    assert turns.take(0.0) is one
    assert turns.take(0.0) is None
    turns.answered(one, 0.0, is_good=False)
    assert turns.take(0.0) is None
    turns.answered(one, 0.0, is_good=True)
    assert [turns.take(0.0), turns.take(0.0), turns.take(0.0)] == [one, one, None]


def test_a_deprioritised_bot_that_answers_in_time_is_as_good_as_any() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    for number in range(2):
        turns.add(ready_bot(number))
    busy = turns.take(0.0)
    assert busy is not None
    turns.set_standing(busy, Standing.DEPRIORITISED)
    turns.answered(busy, 0.0, is_good=True)
    assert {taken.bot_id for taken in (turns.take(0.0), turns.take(0.0)) if taken} == {
        "bot-0",
        "bot-1",
    }


def test_a_bot_that_is_not_there_has_no_standing() -> None:
    turns = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    turns.add(ready_bot(0))
    earlier = ready_bot(0)
    for standing in Standing:
        turns.set_standing(earlier, standing)
        turns.end_standing(earlier, standing)
        turns.answered(earlier, 0.0, is_good=True)
        assert turns.standing(earlier) is None
    assert turns.take(0.0) is not None


def test_a_suspended_bot_gets_nothing_counts_as_busy_and_then_stands_as_before() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    turns.add(one)
    turns.set_standing(one, Standing.DEPRIORITISED)
    turns.set_standing(one, Standing.SUSPENDED)
    assert (turns.take(0.0), len(turns), turns.standing(one)) == (None, 1, Standing.SUSPENDED)
    turns.end_standing(one, Standing.SUSPENDED)
    assert turns.standing(one) is Standing.DEPRIORITISED


def test_a_bot_that_was_not_suspended_keeps_its_turn_when_its_lease_is_confirmed() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one, other = ready_bot(0), ready_bot(1)
    turns.add(one)
    turns.add(other)
    turns.end_standing(one, Standing.SUSPENDED)
    assert turns.take(0.0) is one


def test_what_happens_to_a_suspended_bot_holds_when_that_ends() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    turns.add(one, Standing.PROBATION)
    turns.set_standing(one, Standing.SUSPENDED)
    turns.answered(one, 0.0, is_good=True)
    assert turns.take(0.0) is None
    turns.end_standing(one, Standing.SUSPENDED)
    assert turns.standing(one) is Standing.GOOD
    turns.set_standing(one, Standing.DEPRIORITISED)
    turns.set_standing(one, Standing.SUSPENDED)
    turns.end_standing(one, Standing.DEPRIORITISED)
    turns.end_standing(one, Standing.SUSPENDED)
    assert turns.standing(one) is Standing.PROBATION


def test_a_paused_bot_gets_nothing_and_does_not_count() -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    turns.add(one)
    turns.set_standing(one, Standing.PAUSED)
    assert (turns.take(0.0), len(turns), turns.loads()) == (None, 0, {})
    assert turns.of_account("account-0") is one
    assert not turns.has_others(frozenset())
    assert not turns.has_others(frozenset({"account-0"}))
    turns.set_standing(one, Standing.GOOD)  # only `add` brings it back
    assert turns.standing(one) is Standing.PAUSED
    turns.add(one, Standing.PROBATION)
    assert (turns.take(0.0), turns.take(0.0)) == (one, None)


@given(
    st.lists(
        st.sampled_from(
            [
                "take",
                "release",
                "set",
                "end",
                "good",
                "answered",
                "overdue",
                "silent",
                "broke",
                "rejoin",
            ]
        ),
        max_size=60,
    ),
    st.data(),
)
def test_standing_is_never_lost_count_of(steps: list[str], data: st.DataObject) -> None:
    turns = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    ready_bots = [ready_bot(number) for number in range(3)]
    for one in ready_bots:
        turns.add(one)
    out: list[ReadyBot] = []
    for step in steps:
        one = data.draw(st.sampled_from(ready_bots))
        match step:
            case "take":
                out += [taken] if (taken := turns.take(0.0)) else []
            case "release" if out:
                turns.release(out.pop())
            case "silent" | "broke":
                turns.not_overdue(one, is_silence=step == "silent")
            case "good" | "answered":
                turns.answered(one, 0.0, is_good=step == "good")
            case "set" | "end":
                standing = data.draw(st.sampled_from(Standing))
                getattr(turns, f"{step}_standing")(one, standing)
            case "overdue":
                turns.overdue(one)
            case "rejoin":
                turns.add(one)
                out = [taken for taken in out if taken is not one]
        check_standing(turns)


def check_standing(turns: RoundRobin) -> None:
    """Every bot with room stands in one queue, and those of the second queue are counted."""
    assert turns._seconds == sum(entry.is_second for entry in turns._entries.values())
    for entry in turns._entries.values():
        queue, other = turns._first, turns._second
        if entry.base is Standing.DEPRIORITISED or entry.overdue:
            queue, other = other, queue
        if entry.standing is Standing.SUSPENDED:
            has_room = False
        elif entry.standing is Standing.PROBATION:
            has_room = not entry.in_flight and not entry.overdue
        else:
            has_room = entry.in_flight < 2 and entry.unanswered < OPENS_AFTER
        assert (entry.bot.bot_id in queue) == has_room
        assert entry.bot.bot_id not in other
    for bot_id, entry in turns.paused.items():
        assert entry.standing is Standing.PAUSED
        assert bot_id not in turns._first.keys() | turns._second.keys() | turns._entries.keys()
