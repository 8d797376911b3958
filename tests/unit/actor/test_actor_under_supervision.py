"""The two halves together: an actor is a child, and its address survives the restart."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from support.fake_clock import FakeClock
from support.scripted_child import SupervisorEnv

from actors.actor import Actor, Address, Ask
from actors.errors import ActorStopped
from supervisor.child import Child

pytestmark = pytest.mark.usefixtures("no_leaks")


@dataclass(frozen=True, slots=True)
class Count(Ask[int]):
    """How many messages has this incarnation seen; a negative step breaks it."""

    step: int = 1


class Counter(Actor[Count]):
    """Counts."""

    def __init__(self, address: Address[Count], clock: FakeClock) -> None:
        super().__init__(address, clock=clock)
        self._count = 0

    async def handle(self, message: Count) -> int:
        if message.step < 0:
            raise ValueError("cannot count backwards")
        self._count += message.step
        return self._count


async def test_an_actor_that_crashes_comes_back_fresh_at_the_same_address(
    supervisor_env: SupervisorEnv,
) -> None:
    address: Address[Count] = Address("counter")

    def factory() -> Child:
        return Counter(address, supervisor_env.clock)

    async with supervisor_env.running(
        supervisor_env.supervisor(supervisor_env.spec("counter", factory=factory))
    ):
        assert await address.ask(Count(), deadline=2000.0) == 1
        assert await address.ask(Count(), deadline=2000.0) == 2
        with pytest.raises(ActorStopped):
            await address.ask(Count(-1), deadline=2000.0)
        await supervisor_env.clock.advance(1)
        assert await address.ask(Count(), deadline=2000.0) == 1
    with pytest.raises(ActorStopped):
        address.tell(Count())
    (report,) = supervisor_env.logged("child_crashed")
    assert report["reason"] == "cannot count backwards"


def test_an_actor_whose_handler_is_not_written_cannot_be_made(clock: FakeClock) -> None:
    class Blank(Actor[Count]):
        pass

    with pytest.raises(TypeError, match="handle"):
        Blank(Address("blank"), clock=clock)  # type: ignore[abstract] # what mypy says, too
