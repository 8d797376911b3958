"""The waiting line: fair between clients, urgent requests first, and no request waits without end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.router.wait_queue import PATIENCE, FairQueue, Waiter


def add(line: FairQueue, *clients: str, priority: int = 0) -> list[Waiter]:
    places = [Waiter(client, priority, deadline=0.0) for client in clients]
    for place in places:
        line.add(place)
    return places


def serve(line: FairQueue, times: int = 1000) -> list[str]:
    served: list[str] = []
    while len(served) < times and (place := line.first()) is not None:
        line.serve(place)
        served.append(place.client)
    return served


pytestmark = pytest.mark.asyncio  # places hold futures


async def test_clients_take_turns_however_much_each_asks_for() -> None:
    line = FairQueue()
    add(line, *"aaaaa", *"bb", "c")
    assert serve(line) == list("abcabaaa")
    assert line.size == 0


async def test_what_one_client_asks_for_is_served_in_order() -> None:
    line = FairQueue()
    places = add(line, *"aaaa")
    order = []
    while (place := line.first()) is not None:
        line.serve(place)
        order.append(place)
    assert order == places


async def test_the_more_important_come_first_but_not_for_ever() -> None:
    line = FairQueue()
    add(line, *"ll")
    add(line, *"hhhhhhhhhh", priority=5)
    assert serve(line, PATIENCE + 2) == ["h"] * PATIENCE + ["l", "h"]


async def test_every_level_gets_its_share() -> None:
    line = FairQueue()
    for priority, client in enumerate("abc"):
        add(line, *client * 100, priority=priority)
    served = Counter(serve(line, 60))
    assert served["c"] > served["b"] >= served["a"] > 0


async def test_a_place_that_is_given_up_is_gone_at_once() -> None:
    line = FairQueue()
    first, second, _ = add(line, *"aab")
    line.discard(second)
    line.discard(second)
    assert line.size == 2
    assert line.first() is first
    line.discard(first)
    assert serve(line) == ["b"]


async def test_a_place_that_becomes_more_important_moves_ahead() -> None:
    line = FairQueue()
    _, late = add(line, "a", "b")
    line.promote(late, 3)
    assert serve(line) == ["b", "a"]


async def test_in_a_full_line_the_greediest_makes_room() -> None:
    line = FairQueue()
    greedy = add(line, *"aaa")
    add(line, "b")
    assert line.displaced_by(Waiter("c", 0, 0.0)) is greedy[-1]
    assert line.displaced_by(Waiter("b", 0, 0.0)) is greedy[-1]  # two each then
    assert line.displaced_by(Waiter("a", 0, 0.0)) is None
    line.discard(greedy[-1])
    assert line.displaced_by(Waiter("b", 0, 0.0)) is None


async def test_a_less_important_request_displaces_no_more_important_one() -> None:
    line = FairQueue()
    add(line, *"aaaaaa", priority=5)
    assert line.displaced_by(Waiter("b", 0, 0.0)) is None
    assert line.displaced_by(Waiter("b", 6, 0.0)) is not None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "serve", "discard", "promote"]),
            st.sampled_from("abc"),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
async def test_no_request_is_lost_or_served_twice(steps: list[tuple[str, str, int]]) -> None:
    line = FairQueue()
    inside: list[Waiter] = []
    for step, client, number in steps:
        if step == "add":
            inside += add(line, client, priority=number)
        elif step == "serve" and (place := line.first()) is not None:
            line.serve(place)
            inside.remove(place)
        elif inside and step == "discard":
            line.discard(inside.pop(number % len(inside)))
        elif inside and step == "promote":
            line.promote(inside[number % len(inside)], 3)
        assert line.size == len(inside)
        assert set(line) == set(inside)
    assert len(serve(line)) == len(inside)
