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
    robin = RoundRobin(max_in_flight=10, min_interval_s=0.0)
    for number in range(3):
        robin.add(ready_bot(number))
    taken = [robin.take(0.0) for _ in range(7)]
    assert [one.bot_id for one in taken if one] == [f"bot-{n % 3}" for n in range(7)]


def test_a_full_seat_is_passed_over_until_one_of_its_requests_ends() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    robin.add(ready_bot(0))
    taken = robin.take(0.0)
    assert taken is not None
    assert robin.take(0.0) is None
    robin.release(taken)
    assert robin.take(0.0) is taken


def test_a_seat_rests_between_two_requests() -> None:
    robin = RoundRobin(max_in_flight=5, min_interval_s=1.0)
    robin.add(ready_bot(0))
    assert robin.take(10.0) is not None
    assert robin.take(10.9) is None
    assert robin.next_rest_over(10.9) is not None
    assert robin.take(11.0) is not None


def test_a_seat_that_is_put_back_has_its_turn_still_and_need_not_rest() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=60.0)
    first, second = ready_bot(0), ready_bot(1)
    robin.add(first)
    robin.add(second)
    assert robin.take(100.0) is first
    robin.release(first, unused_since=100.0)
    assert robin.take(100.0) is first
    robin.release(first)
    assert robin.take(100.0) is second
    robin.release(second, unused_since=100.0)
    assert robin.take(159.9) is second
    robin.release(second)
    assert robin.take(160.0) is first


def test_a_seat_that_left_while_it_was_taken_is_not_put_back() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    robin.add(one)
    assert robin.take(0.0) is one
    robin.retire("bot-0", lambda: None)
    robin.release(one, unused_since=0.0)
    assert (robin.take(0.0), robin.loads()) == (None, {})


def test_a_seat_that_another_request_took_since_rests_from_then() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=10.0)
    robin.add(ready_bot(0))
    one = robin.take(0.0)
    assert one is not None
    assert robin.take(10.0) is one
    robin.release(one, unused_since=0.0)
    assert (robin.take(19.9), robin.take(20.0)) == (None, one)


def test_an_avoided_account_is_used_only_when_there_is_no_other() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    robin.add(ready_bot(0))
    robin.add(ready_bot(1))
    avoid = frozenset({"account-0"})
    first, second = robin.take(0.0, avoid), robin.take(0.0, avoid)
    assert first is not None
    assert second is not None
    assert (first.account, second.account) == ("account-1", "account-0")


def test_what_an_earlier_life_of_a_bot_gives_back_does_not_count_for_the_next() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    robin.add(ready_bot(0))
    old = robin.take(0.0)
    assert old is not None
    robin.remove("bot-0")
    robin.add(ready_bot(0))
    new = robin.take(0.0)
    assert new is not None
    robin.release(old)
    assert robin.take(0.0) is None


@given(st.integers(1, 30), st.integers(1, 200))
def test_rotation_is_fair_within_one(bots: int, requests: int) -> None:
    robin = RoundRobin(max_in_flight=10**6, min_interval_s=0.0)
    for number in range(bots):
        robin.add(ready_bot(number))
    used = Counter({f"bot-{n}": 0 for n in range(bots)})
    for _ in range(requests):
        taken = robin.take(0.0)
        assert taken is not None
        used[taken.bot_id] += 1
    assert max(used.values()) - min(used.values()) <= 1


@given(st.lists(st.sampled_from(["join", "leave", "take", "give", "put"]), max_size=80), st.data())
def test_no_seat_ever_carries_more_than_it_may(steps: list[str], data: st.DataObject) -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    out: list[ReadyBot] = []
    present: dict[str, ReadyBot] = {}
    for step in steps:
        number = data.draw(st.integers(0, 3))
        if step == "join":
            present[f"bot-{number}"] = ready_bot(number)
            robin.add(present[f"bot-{number}"])
        elif step == "leave":
            present.pop(f"bot-{number}", None)
            robin.remove(f"bot-{number}")
        elif step == "take" and (taken := robin.take(0.0)) is not None:
            assert present[taken.bot_id] is taken
            out.append(taken)
        elif step == "give" and out:
            robin.release(out.pop(data.draw(st.integers(0, len(out) - 1))))
        elif step == "put" and out:
            robin.release(out.pop(data.draw(st.integers(0, len(out) - 1))), unused_since=0.0)
        assert all(count <= 2 for count in Counter(id(one) for one in out).values())
        free = [one for one in present.values() if sum(taken is one for taken in out) < 2]
        assert len(robin) == len(present)
        if free:
            probe = robin.take(0.0)
            assert probe is not None
            robin.release(probe)


def test_other_limits_hold_for_the_seats_that_are_there() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=60.0)
    robin.add(ready_bot(0))
    taken = robin.take(0.0)
    assert taken is not None
    robin.reconfigure(max_in_flight=3, min_interval_s=0.0)
    assert [robin.take(0.0), robin.take(0.0), robin.take(0.0)] == [taken, taken, None]
    robin.reconfigure(max_in_flight=2, min_interval_s=0.0)
    robin.release(taken)
    assert robin.take(0.0) is None  # two are still in flight
    robin.release(taken)
    assert robin.take(0.0) is taken
    robin.release(taken)
    robin.reconfigure(max_in_flight=2, min_interval_s=5.0)
    assert (robin.take(4.9), robin.next_rest_over(4.0)) == (None, 1.0)


def test_a_retired_seat_is_not_taken_and_counted_until_it_has_nothing_in_flight() -> None:
    robin = RoundRobin(max_in_flight=5, min_interval_s=0.0)
    robin.add(ready_bot(0))
    robin.add(ready_bot(1))
    busy = robin.take(0.0)
    assert busy is not None
    assert robin.take(0.0) is not None
    idle: list[str] = []
    robin.retire("bot-0", lambda: idle.append("bot-0"))
    robin.retire("bot-2", lambda: idle.append("bot-2"))
    assert idle == ["bot-2"]
    assert robin.of_account("account-0") is None
    assert robin.loads() == {"bot-0": 1, "bot-1": 1}
    robin.release(busy)
    assert robin.loads() == {"bot-1": 1}
    robin.release(busy)
    assert robin.loads() == {"bot-1": 1}
    assert idle == ["bot-2", "bot-0"]


def test_a_deprioritised_bot_is_used_only_when_there_is_no_other() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    bad, good = ready_bot(0), ready_bot(1)
    robin.add(bad)
    robin.add(good)
    robin.set_standing(bad, Standing.DEPRIORITISED)
    assert robin.standing(bad) is Standing.DEPRIORITISED
    assert robin.take(0.0) is good
    assert robin.take(0.0) is None  # it will be back soon
    robin.release(good)
    assert robin.take(0.0, frozenset({"account-1"})) is bad
    robin.release(bad)
    robin.remove("bot-1")
    assert robin.take(0.0) is bad


def test_of_two_that_failed_before_the_one_of_good_standing_is_used() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    bad, good = ready_bot(0), ready_bot(1)
    robin.add(bad)
    robin.add(good)
    robin.set_standing(bad, Standing.DEPRIORITISED)
    both = frozenset({"account-0", "account-1"})
    assert robin.take_idle(0.0, both, answered_since=0.0) is None
    assert robin.take(0.0, both) is good


def test_a_bot_on_probation_gets_one_request_at_a_time_until_it_answers_in_time() -> None:
    robin = RoundRobin(max_in_flight=3, min_interval_s=0.0)
    one = ready_bot(0)
    robin.add(one)
    robin.set_standing(one, Standing.DEPRIORITISED)
    robin.end_standing(one, Standing.DEPRIORITISED)
    assert robin.standing(one) is Standing.PROBATION
    assert robin.take(0.0) is one
    assert robin.take(0.0) is None
    robin.answered(one, 0.0, is_good=False)
    assert robin.take(0.0) is None
    robin.answered(one, 0.0, is_good=True)
    assert [robin.take(0.0), robin.take(0.0), robin.take(0.0)] == [one, one, None]


def test_a_deprioritised_bot_that_answers_in_time_is_as_good_as_any() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    for number in range(2):
        robin.add(ready_bot(number))
    busy = robin.take(0.0)
    assert busy is not None
    robin.set_standing(busy, Standing.DEPRIORITISED)
    robin.answered(busy, 0.0, is_good=True)
    assert {taken.bot_id for taken in (robin.take(0.0), robin.take(0.0)) if taken} == {
        "bot-0",
        "bot-1",
    }


def test_a_bot_that_is_not_there_has_no_standing() -> None:
    robin = RoundRobin(max_in_flight=1, min_interval_s=0.0)
    robin.add(ready_bot(0))
    earlier = ready_bot(0)
    for standing in Standing:
        robin.set_standing(earlier, standing)
        robin.end_standing(earlier, standing)
        robin.answered(earlier, 0.0, is_good=True)
        assert robin.standing(earlier) is None
    assert robin.take(0.0) is not None


def test_a_suspended_bot_gets_nothing_counts_as_busy_and_then_stands_as_before() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    robin.add(one)
    robin.set_standing(one, Standing.DEPRIORITISED)
    robin.set_standing(one, Standing.SUSPENDED)
    assert (robin.take(0.0), len(robin), robin.standing(one)) == (None, 1, Standing.SUSPENDED)
    robin.end_standing(one, Standing.SUSPENDED)
    assert robin.standing(one) is Standing.DEPRIORITISED


def test_a_bot_that_was_not_suspended_keeps_its_turn_when_its_lease_is_confirmed() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one, other = ready_bot(0), ready_bot(1)
    robin.add(one)
    robin.add(other)
    robin.end_standing(one, Standing.SUSPENDED)
    assert robin.take(0.0) is one


def test_what_happens_to_a_suspended_bot_holds_when_that_ends() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    robin.add(one, Standing.PROBATION)
    robin.set_standing(one, Standing.SUSPENDED)
    robin.answered(one, 0.0, is_good=True)
    assert robin.take(0.0) is None
    robin.end_standing(one, Standing.SUSPENDED)
    assert robin.standing(one) is Standing.GOOD
    robin.set_standing(one, Standing.DEPRIORITISED)
    robin.set_standing(one, Standing.SUSPENDED)
    robin.end_standing(one, Standing.DEPRIORITISED)
    robin.end_standing(one, Standing.SUSPENDED)
    assert robin.standing(one) is Standing.PROBATION


def test_a_paused_bot_gets_nothing_and_does_not_count() -> None:
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    one = ready_bot(0)
    robin.add(one)
    robin.set_standing(one, Standing.PAUSED)
    assert (robin.take(0.0), len(robin), robin.loads()) == (None, 0, {})
    assert robin.of_account("account-0") is one
    assert not robin.has_others(frozenset())
    assert not robin.has_others(frozenset({"account-0"}))
    robin.set_standing(one, Standing.GOOD)  # only `add` brings it back
    assert robin.standing(one) is Standing.PAUSED
    robin.add(one, Standing.PROBATION)
    assert (robin.take(0.0), robin.take(0.0)) == (one, None)


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
    robin = RoundRobin(max_in_flight=2, min_interval_s=0.0)
    ready_bots = [ready_bot(number) for number in range(3)]
    for one in ready_bots:
        robin.add(one)
    out: list[ReadyBot] = []
    for step in steps:
        one = data.draw(st.sampled_from(ready_bots))
        match step:
            case "take":
                out += [taken] if (taken := robin.take(0.0)) else []
            case "release" if out:
                robin.release(out.pop())
            case "silent" | "broke":
                robin.not_overdue(one, is_silence=step == "silent")
            case "good" | "answered":
                robin.answered(one, 0.0, is_good=step == "good")
            case "set" | "end":
                standing = data.draw(st.sampled_from(Standing))
                getattr(robin, f"{step}_standing")(one, standing)
            case "overdue":
                robin.overdue(one)
            case "rejoin":
                robin.add(one)
                out = [taken for taken in out if taken is not one]
        check_standing(robin)


def check_standing(robin: RoundRobin) -> None:
    """Every bot with room stands in one queue, and those of the second queue are counted."""
    assert robin._seconds == sum(entry.is_second for entry in robin._entries.values())
    for entry in robin._entries.values():
        queue, other = robin._first, robin._second
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
    for bot_id, entry in robin.paused.items():
        assert entry.standing is Standing.PAUSED
        assert bot_id not in robin._first.keys() | robin._second.keys() | robin._entries.keys()
