"""Bot actor: check out, connect, log on, launch, serve, release.

A bot's `run` is one such life; it ends with an exception that says why, and nothing survives it but what
Redis holds. The `finally` blocks let go in the order that keeps an account in one place: stop using it,
log off, and only then give it back.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, assert_never

from actors.accounts.logon_limiter import Wait
from actors.accounts.models import ANY_HELD, BUDGET_SPENT, Lease
from actors.actor import Actor, Address, Envelope, Reply
from actors.bot.failure_policy import FailurePolicy
from actors.bot.log import StateChange
from actors.bot.logon import LogOn, LogOnTurn, needs_password, usable_auth
from actors.bot.messages import (
    BotChanged,
    BudgetSpent,
    CheckLease,
    ReadyBot,
    Relog,
    RouterToBot,
    Serve,
)
from actors.bot.ports import BotMemory, BotPolicy, BotPorts
from actors.bot.renewals import FINISH_S, LeaseRenewer, TokenRefresher
from actors.bot.request_tasks import RequestTasks
from actors.bot.states import BotEvent, BotState, next_state
from actors.clock import Cancellable, end
from actors.errors import (
    AccountError,
    BudgetIsSpent,
    GcUnavailable,
    LeaseLost,
    NoAccountFree,
    PlayingElsewhere,
    ServiceError,
    SteamError,
    SteamUnreachable,
)
from actors.steam.port import AuthState, Dropped, GcLost, GcReady, Link, LinkEvent

LOG_OFF_S: Final = 4.0  # node-steam-user waits as long for Steam to close
GIVE_BACK_S: Final = 3.0  # of trying while Redis is away
LOOK_AGAIN_S: Final = 5.0  # for a free account, on average


class _StopAsked(ServiceError):
    """A stop was asked for; the life ends without blame."""


_ENDED: Final = frozenset(
    {BotState.EXHAUSTED, BotState.NEEDS_HUMAN, BotState.BACKING_OFF, BotState.STOPPED}
)


class Bot(Actor[RouterToBot]):
    """Actor that runs one account. A new instance per life; `holder` names its checkouts in Redis."""

    def __init__(
        self,
        bot_id: str,
        holder: str,
        *,
        address: Address[RouterToBot],
        memory: BotMemory,
        ports: BotPorts,
        policy: BotPolicy,
    ) -> None:
        super().__init__(address, clock=ports.clock)
        self.in_service_since: float | None = None  # on the clock: since it was ready first
        self._id = bot_id
        self._holder = holder
        self._memory = memory
        self._ports = ports
        self._policy = policy
        self._launch_s = policy.launch_s * (1.0 + ports.rng.random())
        self._log = ports.log.bind(actor="bot", child_id=bot_id)
        self._log_on = LogOn(ports.store, ports.on_guard, clock=ports.clock, timeouts=policy.log_on)
        self._state = BotState.WAITING_FOR_ACCOUNT
        self._lease: Lease | None = None
        self._failures: FailurePolicy | None = None
        self._link: Link | None = None
        self._token_keeper: TokenRefresher | None = None
        self._keeping_token: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._seat: ReadyBot | None = None
        self._serving = RequestTasks(bot_id, clock=ports.clock, log=self._log)
        self._life: asyncio.Task[None] | None = None
        self._interruption: ServiceError | None = None
        self._dropped: SteamUnreachable | None = None
        self._launched = False
        self._gc_deadline: Cancellable | None = None
        self._spent_for = 0.0
        self._lease_lost = False

    # -- one life ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Live once.

        Raises:
            ServiceError: why this life ended; returns normally only after a stop.
        """
        self._life = asyncio.create_task(self._live(), name=f"{self._id}-life")
        mail = asyncio.create_task(super().run(), name=f"{self._id}-mail")
        if self._interruption is not None:  # asked to stop before there was a life
            self._life.cancel()
        try:
            await asyncio.wait({self._life, mail}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Of the mail loop only a bug in a handler gets here first; both are brought to an end.
            await end(self._life)
            super().stop()
            await end(mail)
        self._settle(mail)

    def stop(self) -> None:
        """Finish what is being served, log off, give the account back. Harmless when repeated."""
        self._interrupt(BotEvent.STOP_ASKED, _StopAsked())

    def _settle(self, mail: asyncio.Task[None]) -> None:
        """Raise what ended this life, if it was not a stop."""
        assert self._life is not None  # noqa: S101 - run() made it
        if not mail.cancelled() and (crash := mail.exception()) is not None:
            raise crash
        if not self._life.cancelled() and (failure := self._life.exception()) is not None:
            raise failure
        if self._interruption is not None and not isinstance(self._interruption, _StopAsked):
            raise self._interruption
        self._change(BotEvent.ENDED)

    async def _live(self) -> None:
        self._publish()
        asked_at, self._lease = await self._check_out()
        self._log = self._log.bind(account=self._lease.account)
        failures = self._failures = FailurePolicy(self._id, self._ports, self._lease, log=self._log)
        keeper = LeaseRenewer(
            self._ports.store,
            self._lease,
            asked_at=asked_at,
            lease_s=self._policy.lease_s,
            margin_s=self._policy.fence_margin_s,
            clock=self._clock,
            checks=self._ports.lease_checks,
        )
        renewing = asyncio.create_task(self._keep(keeper), name=f"{self._id}-lease")
        self._change(BotEvent.CHECKED_OUT)
        failure: BaseException | None = None
        try:
            await self._session(keeper, failures)
        except BaseException as error:
            failure = self._interruption or error
            raise
        finally:
            await self._let_go(failures, failure)
            await end(renewing)

    async def _check_out(self) -> tuple[float, Lease]:
        """Wait for a free account; `asked_at` is the clock just before it was asked for."""
        while True:
            asked_at = self._clock.now()
            try:
                lease = await self._ports.store.acquire(self._holder, before=self._memory.account)
            except NoAccountFree as none:
                if self._memory.account == ANY_HELD:
                    self._memory.account = ""  # Redis has answered: there is none
                self._ports.causes.forget(self._id)
                self._publish(
                    nothing_free=True,
                    budget_frees_in=none.budget_frees_in,
                    usable_in=none.usable_in,
                )
            except AccountError as error:
                self._memory.account = ANY_HELD
                self._fail(error)
                raise
            else:
                self._memory.account = lease.account
                return asked_at, lease
            # Jitter: bots that wait together must not ask together.
            await self._clock.sleep(LOOK_AGAIN_S * (0.5 + self._ports.rng.random()))

    async def _session(self, keeper: LeaseRenewer, failures: FailurePolicy) -> None:
        """Connect, log on, launch and serve until interrupted; log off and close in any case."""
        try:
            stored = await self._ports.store.load_auth(keeper.lease)
            auth = usable_auth(stored, self._ports.wall(), self._log)
            turn = LogOnTurn(self._id, self._ports, with_password=needs_password(auth))
            await turn.wait(self._tell_wait)
            server = await turn.pick()
            try:
                connect_s = self._policy.connect_s
                self._link = await turn.open(server, self._on_link_event, timeout_s=connect_s)
                await self._open_session(self._link, failures, keeper, auth)
                await asyncio.get_running_loop().create_future()  # serve until interrupted
            except (ServiceError, asyncio.CancelledError) as error:
                why = self._interruption or error
                await failures.blame(server, why, logged_on=self._seat is not None)
                raise
        except (SteamError, AccountError) as error:
            self._fail(error)
            raise
        finally:
            await self._leave()

    def _tell_wait(self, wait: Wait) -> None:
        self._publish(goes_on_in=wait.seconds, waits=wait.reason)

    async def _open_session(
        self, link: Link, failures: FailurePolicy, keeper: LeaseRenewer, auth: AuthState | None
    ) -> None:
        lease = keeper.lease
        keeper.fence(link)
        self._change(BotEvent.CONNECTED)
        logged_on, auth = await self._log_on.run(link, lease, auth)
        failures.logged_on()
        self._keep_token_young(link, lease, auth)
        self._noting = asyncio.create_task(
            self._log_on.note(lease, logged_on, self._ports.pacing, log=self._log),
            name=f"{self._id}-note",
        )
        self._seat = ReadyBot(
            self._id,
            lease.account,
            lease.fencing_token,
            logged_on.egress_ip,
            self.address,
            logged_on.steam_id,
        )
        if self._dropped is not None:
            raise self._dropped
        self._change(BotEvent.LOGGED_ON)
        await link.launch(timeout_s=self._launch_s)
        self._launched = True
        self._change(BotEvent.WELCOMED)

    # -- letting go, in the order that keeps an account in one place ----------------------------

    async def _leave(self) -> None:
        """Finish or fail what is being served, then log off, then close the socket."""
        if self._gc_deadline is not None:
            self._gc_deadline.cancel()
        await self._serving.finish()
        if self._noting is not None:
            await end(self._noting)
        if (link := self._link) is None:
            return
        try:
            await self._end_token_keeper()
            await link.log_off(timeout_s=LOG_OFF_S)
        finally:
            await link.close()
            self._link = None

    async def _end_token_keeper(self) -> None:
        if self._token_keeper is None or self._keeping_token is None:
            return
        await end(self._keeping_token)
        await self._token_keeper.finish(0.0 if self._lease_lost else FINISH_S)

    async def _let_go(self, failures: FailurePolicy, failure: BaseException | None) -> None:
        pause_s = self._spent_for if isinstance(failure, BudgetIsSpent) else None
        # After a stop no next life would try again.
        patience_s = GIVE_BACK_S if isinstance(self._interruption, _StopAsked) else 0.0
        await failures.let_go(failure, pause_s=pause_s, patience_s=patience_s)

    # -- interruptions -------------------------------------------------------------------------

    def _interrupt(self, event: BotEvent, why: ServiceError) -> None:
        """End this life from outside; the first reason counts."""
        if self._interruption is not None or self._state in _ENDED:
            return
        self._interruption = why
        self._change(event, failure=None if isinstance(why, _StopAsked) else why)
        if self._life is not None:
            self._life.cancel()

    def _on_link_event(self, event: LinkEvent) -> None:
        match event:
            case Dropped(reason=reason, eresult=eresult):
                self._on_dropped(SteamUnreachable("session", reason, eresult))
            case GcLost() as lost:
                self._on_gc_lost(lost)
            case GcReady():
                self._on_gc_ready()
            case _:
                assert_never(event)

    def _on_dropped(self, why: SteamUnreachable) -> None:
        """End this life; a log-on under way ends by itself, with what Steam said before it hung up."""
        if self._state is BotState.AUTHENTICATING:
            self._dropped = why
        else:
            self._interrupt(self._ending(why), why)

    def _on_gc_lost(self, lost: GcLost) -> None:
        if self._state is BotState.READY:
            late: GcUnavailable = GcUnavailable("no welcome after the session was lost")
            lost_by, patience_s = GcUnavailable(lost.reason), self._launch_s
            if lost.plays_elsewhere:
                late = lost_by = PlayingElsewhere()
                patience_s = self._policy.blocked_s
            self._change(BotEvent.GC_LOST, lost.reason, failure=lost_by)
            late_at = self._clock.now() + patience_s
            self._gc_deadline = self._clock.call_at(late_at, partial(self._gc_is_late, late))

    def _on_gc_ready(self) -> None:
        # The first welcome is what `launch` waits for; this is about the ones after a loss.
        if self._state is BotState.LAUNCHING and self._launched:
            self._change(BotEvent.WELCOMED)
            if self._gc_deadline is not None:
                self._gc_deadline.cancel()

    def _gc_is_late(self, why: GcUnavailable) -> None:
        if self._state is BotState.LAUNCHING:
            self._interrupt(self._ending(why), why)

    async def _keep(self, keeper: LeaseRenewer) -> None:
        try:
            while True:
                await keeper.renewed()
                if self._state is BotState.READY:  # the router may wait to hear that it holds
                    self._publish()
        except LeaseLost as lost:
            self._lease_lost = True
            self._interrupt(BotEvent.FAILED, lost)
            self._serving.cancel()  # no time to be nice, also while draining

    def _keep_token_young(self, link: Link, lease: Lease, auth: AuthState) -> None:
        keeper = self._token_keeper = TokenRefresher(
            link,
            auth,
            partial(self._log_on.store, lease),
            clock=self._clock,
            wall=self._ports.wall,
            rng=self._ports.rng,
            log=self._log,
        )
        self._keeping_token = asyncio.create_task(keeper.keep(), name=f"{self._id}-token")

    # -- mail ----------------------------------------------------------------------------------

    async def handle(self, envelope: Envelope[RouterToBot]) -> None:
        """One message; serving happens in a task of its own so that several run at once."""
        match envelope.message:
            case BudgetSpent(retry_after=retry_after):
                self._leave_account(BUDGET_SPENT, retry_after)
            case Relog(reason=reason, spare_rest_s=rest_s):
                if rest_s is None and self._state is BotState.READY:
                    self._interrupt(BotEvent.FAILED, GcUnavailable(reason))
                elif rest_s and self._failures and await self._failures.take_spare(self._memory):
                    self._leave_account(reason, rest_s)
            case CheckLease():
                self._ports.lease_checks.ask("a request was refused for its lease")
            case serve:
                self._serve(serve, envelope.reply)

    def _leave_account(self, reason: str, rest_s: float) -> None:
        self._spent_for = rest_s
        if self._state is BotState.READY:
            self._interrupt(BotEvent.BUDGET_SPENT, BudgetIsSpent(reason))

    def _serve(self, serve: Serve, reply: Reply[Any] | None) -> None:
        if reply is None:
            return
        if self._state is BotState.READY and self._link is not None:
            self._serving.start(self._link, serve, reply)
        else:
            reply.fail(GcUnavailable("the bot is not ready"))

    # -- state ---------------------------------------------------------------------------------

    def _fail(self, error: ServiceError) -> None:
        """Enter the state that fits an error of our own doing, unless interrupted already."""
        if self._interruption is not None:
            return
        self._change(self._ending(error), failure=error)

    def _ending(self, error: ServiceError) -> BotEvent:
        needs_person = self._failures is not None and self._failures.ruling(error).need
        return BotEvent.PERSON_NEEDED if needs_person else BotEvent.FAILED

    def _change(
        self, event: BotEvent, reason: str | None = None, *, failure: ServiceError | None = None
    ) -> None:
        """Enter the next state, tell and log it. `reason`: in words, where not those of `failure`."""
        before, self._state = self._state, next_state(self._state, event)
        if event is BotEvent.GC_LOST and not isinstance(failure, PlayingElsewhere):
            self._ports.causes.gc_lost(self._id, reason or "", self._ports.clock.wall())
        elif event is BotEvent.WELCOMED:
            self._ports.causes.gc_ready(self._id)
        if self._state is BotState.READY and self.in_service_since is None:
            self.in_service_since = self._clock.now()
        change = StateChange(
            self._id,
            self._lease.account if self._lease else None,
            before,
            self._state,
            reason or (str(failure) if failure else None),
            failure,
            self._failures.verdict if self._failures else None,
        )
        cause = self._ports.bot_log.note(change, self._log)
        self._publish(reason=change.reason, cause=cause)

    def _publish(self, **more: Any) -> None:
        """Tell all who watch the fleet; `more`: further fields of `BotChanged`."""
        self._ports.publish(
            BotChanged(
                bot_id=self._id,
                state=self._state,
                account=self._lease.account if self._lease else None,
                seat=self._seat if self._state is BotState.READY else None,
                verdict=self._failures.verdict if self._failures else None,
                **more,
            )
        )
