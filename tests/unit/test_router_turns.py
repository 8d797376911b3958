"""Fair rotation over seats."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actors.actor import Address
from actors.messages import RouterToBot, Seat
from actors.turns import Turns


def seat(number: int) -> Seat:
    name = f"bot-{number}"
    return Seat(name, f"account-{number}", number, None, Address[RouterToBot](name))


def test_seats_take_turns_in_order_of_last_use() -> None:
    turns = Turns(max_in_flight=10, min_interval_s=0.0)
    for number in range(3):
        turns.join(seat(number))
    taken = [turns.take(0.0) for _ in range(7)]
    assert [one.bot_id for one in taken if one] == [f"bot-{n % 3}" for n in range(7)]


def test_a_full_seat_is_passed_over_until_one_of_its_requests_ends() -> None:
    turns = Turns(max_in_flight=1, min_interval_s=0.0)
    turns.join(seat(0))
    taken = turns.take(0.0)
    assert taken is not None
    assert turns.take(0.0) is None
    turns.give_back(taken)
    assert turns.take(0.0) is taken


def test_a_seat_rests_between_two_requests() -> None:
    turns = Turns(max_in_flight=5, min_interval_s=1.0)
    turns.join(seat(0))
    assert turns.take(10.0) is not None
    assert turns.take(10.9) is None
    assert turns.next_rest_over(10.9) is not None
    assert turns.take(11.0) is not None


def test_an_avoided_account_is_used_only_when_there_is_no_other() -> None:
    turns = Turns(max_in_flight=1, min_interval_s=0.0)
    turns.join(seat(0))
    turns.join(seat(1))
    avoid = frozenset({"account-0"})
    first, second = turns.take(0.0, avoid), turns.take(0.0, avoid)
    assert first is not None
    assert second is not None
    assert (first.account, second.account) == ("account-1", "account-0")


def test_what_an_earlier_life_of_a_bot_gives_back_does_not_count_for_the_next() -> None:
    turns = Turns(max_in_flight=1, min_interval_s=0.0)
    turns.join(seat(0))
    old = turns.take(0.0)
    assert old is not None
    turns.leave("bot-0")
    turns.join(seat(0))
    new = turns.take(0.0)
    assert new is not None
    turns.give_back(old)
    assert turns.take(0.0) is None


@given(st.integers(1, 30), st.integers(1, 200))
def test_rotation_is_fair_within_one(bots: int, requests: int) -> None:
    turns = Turns(max_in_flight=10**6, min_interval_s=0.0)
    for number in range(bots):
        turns.join(seat(number))
    used = Counter({f"bot-{n}": 0 for n in range(bots)})
    for _ in range(requests):
        taken = turns.take(0.0)
        assert taken is not None
        used[taken.bot_id] += 1
    assert max(used.values()) - min(used.values()) <= 1


@given(st.lists(st.sampled_from(["join", "leave", "take", "give"]), max_size=80), st.data())
def test_no_seat_ever_carries_more_than_it_may(steps: list[str], data: st.DataObject) -> None:
    turns = Turns(max_in_flight=2, min_interval_s=0.0)
    out: list[Seat] = []
    present: dict[str, Seat] = {}
    for step in steps:
        number = data.draw(st.integers(0, 3))
        if step == "join":
            present[f"bot-{number}"] = seat(number)
            turns.join(present[f"bot-{number}"])
        elif step == "leave":
            present.pop(f"bot-{number}", None)
            turns.leave(f"bot-{number}")
        elif step == "take" and (taken := turns.take(0.0)) is not None:
            assert present[taken.bot_id] is taken
            out.append(taken)
        elif step == "give" and out:
            turns.give_back(out.pop(data.draw(st.integers(0, len(out) - 1))))
        assert all(count <= 2 for count in Counter(id(one) for one in out).values())
        free = [one for one in present.values() if sum(taken is one for taken in out) < 2]
        assert len(turns) == len(present)
        if free:
            probe = turns.take(0.0)
            assert probe is not None
            turns.give_back(probe)


def test_other_limits_hold_for_the_seats_that_are_there() -> None:
    turns = Turns(max_in_flight=1, min_interval_s=60.0)
    turns.join(seat(0))
    taken = turns.take(0.0)
    assert taken is not None
    turns.change_limits(max_in_flight=3, min_interval_s=0.0)
    assert [turns.take(0.0), turns.take(0.0), turns.take(0.0)] == [taken, taken, None]
    turns.change_limits(max_in_flight=2, min_interval_s=0.0)
    turns.give_back(taken)
    assert turns.take(0.0) is None  # two are still in flight
    turns.give_back(taken)
    assert turns.take(0.0) is taken
    turns.give_back(taken)
    turns.change_limits(max_in_flight=2, min_interval_s=5.0)
    assert (turns.take(4.9), turns.next_rest_over(4.0)) == (None, 1.0)


def test_a_retired_seat_is_not_taken_and_counted_until_it_has_nothing_in_flight() -> None:
    turns = Turns(max_in_flight=5, min_interval_s=0.0)
    turns.join(seat(0))
    turns.join(seat(1))
    busy = turns.take(0.0)
    assert busy is not None
    assert turns.take(0.0) is not None
    turns.retire("bot-0")
    turns.retire("bot-2")
    assert turns.of_account("account-0") is None
    assert turns.loads() == {"bot-0": 1, "bot-1": 1}
    turns.give_back(busy)
    assert turns.loads() == {"bot-1": 1}
    turns.give_back(busy)
    assert turns.loads() == {"bot-1": 1}
