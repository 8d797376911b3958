"""Bot actor: check out an account, connect, log on, launch Dota 2, serve, release.

A run ends with an exception that says why; only what Redis holds survives it. The cleanup keeps an
account in one place: finish the requests, log off, and only then release the account.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any, Final, assert_never

from actors.accounts.logon_limiter import Wait
from actors.accounts.models import ANY_HELD, BUDGET_SPENT, Lease
from actors.actor import Actor, Address
from actors.bot.failure_policy import FailurePolicy
from actors.bot.leases import LeaseRenewer
from actors.bot.logon import (
    FINISH_S,
    TokenRefresher,
    log_on,
    needs_password,
    record_logon,
    refunded_unless_reached,
    usable_auth,
    wait_for_turn,
)
from actors.bot.messages import BotChanged, BudgetSpent, CheckLease, ReadyBot, Relog, RouterToBot
from actors.bot.ports import LOG_OFF_S, BotMemory, BotPolicy, BotPorts
from actors.bot.request_tasks import RequestTasks
from actors.bot.states import BotEvent, BotState, next_state
from actors.clock import Cancellable, Tasks, end
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

RELEASE_S: Final = 3.0  # of retries while Redis is unavailable
CHECKOUT_RETRY_S: Final = 5.0  # average, while no account is free


class _StopRequested(ServiceError):
    """Ends a run that is stopped."""


_ENDED: Final = frozenset(
    {BotState.EXHAUSTED, BotState.NEEDS_HUMAN, BotState.BACKING_OFF, BotState.STOPPED}
)


class Bot(Actor[RouterToBot]):
    """Runs one account. Each run is a new instance; `holder` names its checkouts in Redis."""

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
        self.in_service_since: float | None = None  # clock seconds at which it was first ready
        self._id = bot_id
        self._holder = holder
        self._memory = memory
        self._ports = ports
        self._policy = policy
        self._launch_s = policy.launch_s * (1.0 + ports.rng.random())
        self._log = ports.log.bind(actor="bot", child_id=bot_id)
        self._state = BotState.WAITING_FOR_ACCOUNT
        self._lease: Lease | None = None
        self._failures: FailurePolicy | None = None
        self._link: Link | None = None
        self._refresher: TokenRefresher | None = None
        self._session_tasks = Tasks()
        self._ready_bot: ReadyBot | None = None
        self._requests = RequestTasks(bot_id, clock=ports.clock, log=self._log)
        self._work: asyncio.Task[None] | None = None
        self._interruption: ServiceError | None = None
        self._dropped: SteamUnreachable | None = None
        self._launched = False
        self._gc_deadline: Cancellable | None = None
        self._cooldown_s = 0.0  # of the account after BudgetSpent or Relog
        self._lease_lost = False

    # -- one run -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until the end of the session or the account.

        Raises:
            ServiceError: why the run ended; it returns normally only after a stop.
        """
        self._work = asyncio.create_task(self._use_account(), name=f"{self._id}-run")
        mail = asyncio.create_task(super().run(), name=f"{self._id}-mail")
        if self._interruption is not None:  # stopped before it ran
            self._work.cancel()
        try:
            await asyncio.wait({self._work, mail}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The mail loop ends first only after an unexpected error in a handler.
            await end(self._work)
            super().stop()
            await end(mail)
        for task in (mail, self._work):
            if not task.cancelled() and (failure := task.exception()) is not None:
                raise failure
        if self._interruption is not None and not isinstance(self._interruption, _StopRequested):
            raise self._interruption
        self._change(BotEvent.ENDED)

    def stop(self) -> None:
        """Finish the requests, log off and release the account. Harmless when repeated."""
        self._interrupt(BotEvent.STOP_REQUESTED, _StopRequested())

    async def _use_account(self) -> None:
        """Check out an account, hold its lease, run one session, release the account."""
        self._publish()
        acquired_at, lease = await self._check_out()
        self._lease = lease
        self._log = self._log.bind(account=lease.account)
        failures = self._failures = FailurePolicy(self._id, self._ports, lease, log=self._log)
        renewer = LeaseRenewer(self._ports, self._policy, lease, acquired_at=acquired_at)
        renewing = asyncio.create_task(self._keep_lease(renewer), name=f"{self._id}-lease")
        self._change(BotEvent.CHECKED_OUT)
        try:
            await self._run_session(lease, renewer, failures)
        except BaseException as error:
            failure = self._interruption or error
            pause_s = self._cooldown_s if isinstance(failure, BudgetIsSpent) else None
            # After a stop there is no next run that could retry.
            patience_s = RELEASE_S if isinstance(failure, _StopRequested) else 0.0
            await failures.release(failure, pause_s=pause_s, patience_s=patience_s)
            raise
        finally:
            await end(renewing)

    async def _check_out(self) -> tuple[float, Lease]:
        """Wait for a free account; return it, and the clock just before the successful request."""
        while True:
            sent_at = self._clock.now()
            try:
                lease = await self._ports.store.acquire(self._holder, before=self._memory.account)
            except NoAccountFree as none:
                if self._memory.account == ANY_HELD:
                    self._memory.account = ""  # Redis has answered that this holder has none
                self._ports.causes.forget(self._id)
                frees_in, usable_in = none.budget_frees_in, none.usable_in
                self._publish(nothing_free=True, budget_frees_in=frees_in, usable_in=usable_in)
            except AccountError as error:
                self._memory.account = ANY_HELD
                self._fail(error)
                raise
            else:
                self._memory.account = lease.account
                return sent_at, lease
            # Jitter: waiting bots must not ask together.
            await self._clock.sleep(CHECKOUT_RETRY_S * (0.5 + self._ports.rng.random()))

    async def _run_session(
        self, lease: Lease, renewer: LeaseRenewer, failures: FailurePolicy
    ) -> None:
        """Connect, log on, launch and serve until interrupted; then log off and close the link."""
        ports = self._ports
        try:
            stored = await ports.store.load_auth(lease)
            auth = usable_auth(stored, ports.steam_time.wall(), self._log)
            with_password = needs_password(auth)
            await wait_for_turn(self._id, ports, self._publish_wait, with_password=with_password)
            refunded = partial(refunded_unless_reached, ports.limiter, with_password=with_password)
            async with refunded():
                server = await ports.directory.pick()
            try:
                async with refunded():
                    self._link = await ports.network.open(
                        server, self._on_link_event, timeout_s=self._policy.connect_s
                    )
                renewer.fence(self._link)
                self._change(BotEvent.CONNECTED)
                await self._log_on_and_launch(self._link, lease, auth, failures)
                await asyncio.get_running_loop().create_future()  # serve until interrupted
            except (ServiceError, asyncio.CancelledError) as error:
                why = self._interruption or error
                await failures.mark_culprit(server, why, logged_on=self._ready_bot is not None)
                raise
        except (SteamError, AccountError) as error:
            self._fail(error)
            raise
        finally:
            await self._end_session()

    def _publish_wait(self, wait: Wait) -> None:
        self._publish(goes_on_in=wait.seconds, waits=wait.reason)

    async def _log_on_and_launch(
        self, link: Link, lease: Lease, auth: AuthState | None, failures: FailurePolicy
    ) -> None:
        ports = self._ports
        store, on_guard, timeouts = ports.store, ports.on_guard, self._policy.log_on
        logged_on, auth = await log_on(
            link, lease, auth, store, on_guard, clock=ports.clock, timeouts=timeouts
        )
        failures.logged_on()
        self._refresher = TokenRefresher(ports, link, lease, auth, log=self._log)
        self._session_tasks.start(self._refresher.run(), name=f"{self._id}-token")
        recording = record_logon(ports, lease, logged_on, log=self._log)
        self._session_tasks.start(recording, name=f"{self._id}-record")
        token, ip, steam_id = lease.fencing_token, logged_on.egress_ip, logged_on.steam_id
        self._ready_bot = ReadyBot(self._id, lease.account, token, ip, self.address, steam_id)
        if self._dropped is not None:
            raise self._dropped
        self._change(BotEvent.LOGGED_ON)
        await link.launch(timeout_s=self._launch_s)
        self._launched = True
        self._change(BotEvent.WELCOMED)

    async def _keep_lease(self, renewer: LeaseRenewer) -> None:
        try:
            while True:
                await renewer.renew_next()
                if self._state is BotState.READY:  # the router may wait for it; see CheckLease
                    self._publish()
        except LeaseLost as lost:
            self._lease_lost = True
            self._interrupt(BotEvent.FAILED, lost)
            self._requests.cancel()  # also while draining: the account must not be used

    # -- cleanup, in this order --------------------------------------------------------------------

    async def _end_session(self) -> None:
        """Finish the requests, log off, close the socket."""
        if self._gc_deadline is not None:
            self._gc_deadline.cancel()
        try:
            await self._requests.finish()
            self._session_tasks.cancel()
            await self._session_tasks.finish()
            if self._refresher is not None:
                await self._refresher.finish(0.0 if self._lease_lost else FINISH_S)
            if self._link is not None:
                await self._link.log_off(timeout_s=LOG_OFF_S)
        finally:
            self._session_tasks.cancel()
            link, self._link = self._link, None
            if link is not None:
                await link.close()

    # -- interruptions -----------------------------------------------------------------------------

    def _interrupt(self, event: BotEvent, why: ServiceError) -> None:
        """End this run; the first reason counts."""
        if self._interruption is not None or self._state in _ENDED:
            return
        self._interruption = why
        self._change(event, failure=None if isinstance(why, _StopRequested) else why)
        if self._work is not None:
            self._work.cancel()

    def _on_link_event(self, event: LinkEvent) -> None:
        match event:
            case Dropped(reason=reason, eresult=eresult):
                why = SteamUnreachable("session", reason, eresult)
                if self._state is BotState.AUTHENTICATING:  # the log-on ends with Steam's reason
                    self._dropped = why
                else:
                    self._interrupt(self._event_for(why), why)
            case GcLost():
                if self._state is BotState.READY:
                    self._on_gc_lost(event)
            case GcReady():
                # `launch` waits for the first welcome; this handles those after a loss.
                if self._state is BotState.LAUNCHING and self._launched:
                    self._change(BotEvent.WELCOMED)
                    if self._gc_deadline is not None:
                        self._gc_deadline.cancel()
            case _:
                assert_never(event)

    def _on_gc_lost(self, lost: GcLost) -> None:
        late: GcUnavailable = GcUnavailable("no welcome after the session was lost")
        lost_by, patience_s = GcUnavailable(lost.reason), self._launch_s
        if lost.plays_elsewhere:
            late = lost_by = PlayingElsewhere()
            patience_s = self._policy.blocked_s
        else:
            self._ports.causes.gc_lost(self._id, lost.reason, self._clock.wall())
        self._change(BotEvent.GC_LOST, lost.reason, failure=lost_by)
        late_at = self._clock.now() + patience_s
        self._gc_deadline = self._clock.call_at(late_at, partial(self._on_gc_late, late))

    def _on_gc_late(self, why: GcUnavailable) -> None:
        if self._state is BotState.LAUNCHING:
            self._interrupt(self._event_for(why), why)

    # -- messages ----------------------------------------------------------------------------------

    async def handle(self, message: RouterToBot) -> asyncio.Task[bytes] | None:
        """Handle one message; a request runs in a task of its own."""
        match message:
            case BudgetSpent(retry_after=retry_after):
                self._leave_account(BUDGET_SPENT, retry_after)
            case Relog(reason=reason, spare_rest_s=rest_s):
                if rest_s is None and self._state is BotState.READY:
                    self._interrupt(BotEvent.FAILED, GcUnavailable(reason))
                elif rest_s and self._failures and await self._failures.take_spare(self._memory):
                    self._leave_account(reason, rest_s)
            case CheckLease():
                self._ports.lease_checks.ask("a request was refused for its lease")
            case request:
                if self._state is not BotState.READY or self._link is None:
                    raise GcUnavailable("the bot is not ready")
                return self._requests.start(self._link, request)
        return None

    def _leave_account(self, reason: str, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        if self._state is BotState.READY:
            self._interrupt(BotEvent.BUDGET_SPENT, BudgetIsSpent(reason))

    # -- state -------------------------------------------------------------------------------------

    def _fail(self, error: ServiceError) -> None:
        """Enter the state after an error of this run, unless it is interrupted."""
        if self._interruption is None:
            self._change(self._event_for(error), failure=error)

    def _event_for(self, error: ServiceError) -> BotEvent:
        needs_operator = self._failures is not None and self._failures.classify(error).action
        return BotEvent.OPERATOR_NEEDED if needs_operator else BotEvent.FAILED

    def _change(
        self, event: BotEvent, reason: str | None = None, *, failure: ServiceError | None = None
    ) -> None:
        """Enter the next state, log and publish it; `reason` replaces the text of `failure`."""
        before, self._state = self._state, next_state(self._state, event)
        if event is BotEvent.WELCOMED:
            self._ports.causes.gc_ready(self._id)
        if self._state is BotState.READY and self.in_service_since is None:
            self.in_service_since = self._clock.now()
        change = self._report(reason=reason or (str(failure) if failure else None))
        cause = self._ports.bot_log.note(before, change, failure, self._log)
        self._ports.registry.changed(replace(change, cause=cause))

    def _publish(self, **more: Any) -> None:
        self._ports.registry.changed(self._report(**more))

    def _report(self, **more: Any) -> BotChanged:
        """Return the present state; `more`: further fields of `BotChanged`."""
        return BotChanged(
            bot_id=self._id,
            state=self._state,
            account=self._lease.account if self._lease else None,
            ready_bot=self._ready_bot if self._state is BotState.READY else None,
            result=self._failures.consequences.result if self._failures else None,
            **more,
        )
