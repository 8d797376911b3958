"""Tell and ask: delivered once, in order, answered once, and never waited for in vain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from support.fake_clock import FakeClock, settle

from actors.actor import Actor, Address, Ask, fail
from actors.errors import ActorStopped, MailboxFull, ServiceError

pytestmark = pytest.mark.usefixtures("no_leaks")


@dataclass(frozen=True, slots=True)
class Double(Ask[int]):
    """Answered by twice the number, at once."""

    number: int


@dataclass(frozen=True, slots=True)
class Keep(Ask[str]):
    """Answered when the test says so."""


@dataclass(frozen=True, slots=True)
class Note:
    """Told, not asked."""

    text: str


Message = Double | Keep | Note


class BadNumber(ServiceError):
    """No answer is made of it."""


class Worker(Actor[Message]):
    """Doubles numbers, writes down notes, answers later; works only while `may_work` is set."""

    def __init__(self, address: Address[Message], clock: FakeClock, capacity: int = 4) -> None:
        super().__init__(address, clock=clock, capacity=capacity)
        self.may_work = asyncio.Event()
        self.may_work.set()
        self.seen: list[Message] = []
        self.kept: list[asyncio.Future[str]] = []

    async def handle(self, message: Message) -> int | asyncio.Future[str] | None:
        await self.may_work.wait()
        self.seen.append(message)
        match message:
            case Double(13):
                raise BadNumber
            case Double(number):
                return 2 * number
            case Keep():
                self.kept.append(asyncio.get_running_loop().create_future())
                return self.kept[-1]
            case Note("burn"):
                raise RuntimeError("on fire")
            case Note("unlucky"):
                raise BadNumber
            case _:
                return None


@pytest.fixture
def address() -> Address[Message]:
    return Address("worker")


@pytest.fixture
async def worker(address: Address[Message], clock: FakeClock) -> AsyncIterator[Worker]:
    worker = Worker(address, clock)
    async with working(worker):
        yield worker


@contextlib.asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    await worker.start()
    run = asyncio.create_task(worker.run())
    await settle()
    try:
        yield run
    finally:
        run.cancel()
        await asyncio.wait({run})


def asking(
    address: Address[Message], message: Ask[object], deadline: float = 2000.0
) -> asyncio.Task[object]:
    return asyncio.create_task(address.ask(message, deadline=deadline))


async def test_an_ask_is_answered(worker: Worker, address: Address[Message]) -> None:
    assert await address.ask(Double(21), deadline=2000.0) == 42
    assert worker.seen == [Double(21)]


async def test_mail_is_handled_in_the_order_it_came(
    worker: Worker, address: Address[Message]
) -> None:
    address.tell(Note("one"))
    doubled = asking(address, Double(2))
    await settle()
    address.tell(Note("three"))
    await settle()
    assert worker.seen == [Note("one"), Double(2), Note("three")]
    assert await doubled == 4


async def test_an_answer_may_come_long_after_the_message_was_handled(
    worker: Worker, address: Address[Message]
) -> None:
    patient = asking(address, Keep())
    await settle()
    assert await address.ask(Double(1), deadline=2000.0) == 2
    worker.kept[0].set_result("at last")
    assert await patient == "at last"


async def test_an_ask_can_fail(worker: Worker, address: Address[Message]) -> None:
    asked = asking(address, Keep())
    await settle()
    worker.kept[0].set_exception(LookupError("nothing there"))
    with pytest.raises(LookupError, match="nothing there"):
        await asked


async def test_an_error_of_the_service_answers_an_ask_and_does_not_end_the_actor(
    worker: Worker, address: Address[Message]
) -> None:
    with pytest.raises(BadNumber):
        await address.ask(Double(13), deadline=2000.0)
    assert await address.ask(Double(1), deadline=2000.0) == 2
    assert worker.seen == [Double(13), Double(1)]


async def test_an_error_of_the_service_that_answers_no_ask_ends_the_actor(
    address: Address[Message], clock: FakeClock
) -> None:
    async with working(Worker(address, clock)) as run:
        address.tell(Note("unlucky"))
        await settle()
        assert isinstance(run.exception(), BadNumber)


async def test_an_answer_that_is_cancelled_fails_the_ask(
    worker: Worker, address: Address[Message]
) -> None:
    asked = asking(address, Keep())
    await settle()
    worker.kept[0].cancel()
    with pytest.raises(ActorStopped):
        await asked


async def test_only_the_first_answer_counts(worker: Worker, address: Address[Message]) -> None:
    asked = asking(address, Keep())
    await settle()
    reply = worker.kept[0]
    reply.set_result("first")
    fail(reply, RuntimeError("second"))
    assert await asked == "first"
    assert not reply.cancelled()


async def test_an_ask_ends_at_its_deadline_and_not_before(
    worker: Worker, address: Address[Message], clock: FakeClock
) -> None:
    asked = asking(address, Keep(), deadline=clock.now() + 5)
    await clock.advance(4.9)
    assert not asked.done()
    await clock.advance(0.1)
    with pytest.raises(TimeoutError):
        await asked
    await settle()
    assert worker.kept[0].cancelled()
    fail(worker.kept[0], RuntimeError("too late"))  # ignored


async def test_a_cancelled_asker_cancels_its_answer(
    worker: Worker, address: Address[Message], clock: FakeClock
) -> None:
    asked = asking(address, Keep())
    await settle()
    asked.cancel()
    await settle()
    assert asked.cancelled()
    assert worker.kept[0].cancelled()
    assert clock.pending == 0


async def test_an_asker_cancelled_as_its_answer_fails_makes_no_noise(
    worker: Worker, address: Address[Message], caplog: pytest.LogCaptureFixture
) -> None:
    asked = asking(address, Keep())
    await settle()
    worker.kept.pop().set_exception(RuntimeError("the caller is gone"))
    asked.cancel()
    await settle()
    del asked
    assert caplog.records == []


async def test_mail_whose_asker_is_gone_is_dropped_unread(
    worker: Worker, address: Address[Message], clock: FakeClock
) -> None:
    worker.may_work.clear()
    address.tell(Note("first"))
    gone, late = asking(address, Double(1)), asking(address, Double(2), clock.now() + 1)
    await settle()
    gone.cancel()
    await clock.advance(1)
    worker.may_work.set()
    await settle()
    assert worker.seen == [Note("first")]
    assert isinstance(late.exception(), TimeoutError)


async def test_a_full_mailbox_refuses_the_sender_at_once(
    worker: Worker, address: Address[Message], clock: FakeClock
) -> None:
    worker.may_work.clear()
    address.tell(Note("in hand"))
    await settle()
    for _ in range(4):
        address.tell(Note("waiting"))
    with pytest.raises(MailboxFull, match="the mailbox of worker is full \\(4 messages\\)"):
        address.tell(Note("refused"))
    with pytest.raises(MailboxFull):
        await address.ask(Double(1), deadline=2000.0)
    assert clock.pending == 0
    worker.may_work.set()
    await settle()
    assert worker.seen == [Note("in hand"), *[Note("waiting")] * 4]
    address.tell(Note("room again"))


async def test_an_address_without_an_actor_refuses_at_once(address: Address[Message]) -> None:
    with pytest.raises(ActorStopped, match="worker is not running"):
        address.tell(Note("hello"))
    with pytest.raises(ActorStopped):
        await address.ask(Double(1), deadline=2000.0)


async def test_a_stopped_actor_finishes_its_mail_and_takes_no_more(
    worker: Worker, address: Address[Message]
) -> None:
    worker.may_work.clear()
    address.tell(Note("accepted"))
    doubled = asking(address, Double(2))
    await settle()
    worker.stop()
    worker.stop()
    with pytest.raises(ActorStopped):
        address.tell(Note("too late"))
    worker.may_work.set()
    await settle()
    assert worker.seen == [Note("accepted"), Double(2)]
    assert await doubled == 4


async def test_an_idle_actor_that_is_stopped_ends_at_once(
    address: Address[Message], clock: FakeClock
) -> None:
    worker = Worker(address, clock)
    async with working(worker) as run:
        worker.stop()
        await settle()
        assert run.done()
        assert run.exception() is None


async def test_an_actor_stopped_before_its_run_still_answers_what_it_accepted(
    address: Address[Message], clock: FakeClock
) -> None:
    worker = Worker(address, clock)
    await worker.start()
    doubled = asking(address, Double(2))
    await settle()
    worker.stop()
    await worker.run()
    assert await doubled == 4


async def test_no_asker_waits_for_an_actor_that_failed(
    address: Address[Message], clock: FakeClock
) -> None:
    worker = Worker(address, clock)
    async with working(worker) as run:
        kept = asking(address, Keep())
        await settle()
        worker.may_work.clear()
        address.tell(Note("burn"))
        waiting = asking(address, Double(1))
        await settle()
        worker.may_work.set()
        await settle()
        assert isinstance(run.exception(), RuntimeError)
        assert isinstance(kept.exception(), ActorStopped)
        assert isinstance(waiting.exception(), ActorStopped)
        assert clock.pending == 0


async def test_no_asker_waits_for_an_actor_that_was_cancelled(
    address: Address[Message], clock: FakeClock
) -> None:
    worker = Worker(address, clock)
    async with working(worker) as run:
        worker.may_work.clear()
        in_hand, waiting = asking(address, Double(1)), asking(address, Double(2))
        await settle()
        run.cancel()
        await settle()
        assert isinstance(in_hand.exception(), ActorStopped)
        assert isinstance(waiting.exception(), ActorStopped)


async def test_the_address_outlives_the_actor(address: Address[Message], clock: FakeClock) -> None:
    async with working(Worker(address, clock)):
        address.tell(Note("burn"))
        await settle()
        with pytest.raises(ActorStopped):
            address.tell(Note("too late"))
    async with working(Worker(address, clock)):
        assert await address.ask(Double(4), deadline=2000.0) == 8


async def test_mail_for_an_actor_that_was_replaced_before_it_ran_is_answered(
    address: Address[Message], clock: FakeClock
) -> None:
    await Worker(address, clock).start()
    asked = asking(address, Double(1))
    await settle()
    await Worker(address, clock).start()
    await settle()
    assert isinstance(asked.exception(), ActorStopped)


async def test_an_actor_that_forgets_a_reply_fails_it_when_it_ends(
    address: Address[Message], clock: FakeClock
) -> None:
    worker = Worker(address, clock)
    async with working(worker):
        asked = asking(address, Keep())
        await settle()
        worker.stop()
        await settle()
        assert isinstance(asked.exception(), ActorStopped)


def test_an_address_shows_its_name(address: Address[Message]) -> None:
    assert repr(address) == "Address('worker')"
