"""Consequences of slow and unanswered requests and of refused budgets for a bot.

answered              good standing, unless others were answered several times as quickly meanwhile
overdue               used only when there is no other, until it is answered
slower than others    deprioritised for a while, longer each time in a row
silent                evidence, see unanswered.py: paused, logged on again, rotated
dropped by the GC     the same evidence, known at once
budget refused        suspended until it frees; of an address, with all others that leave from it
lease refused         suspended while the bot checks its lease
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.models import Refused
from actors.accounts.store import AccountStore
from actors.bot.log import FirstFailures
from actors.bot.messages import BudgetSpent, CheckLease, ReadyBot, Relog
from actors.clock import Clock, Tasks, backoff_s
from actors.errors import AccountError, LocalProtocolError
from actors.router.bot_pool import BotPool
from actors.router.metrics import RouterMetrics
from actors.router.rotation import Standing
from actors.router.unanswered import CircuitBreakers, Step, UnansweredTracker, Why

# -- response times
TYPICAL_S: Final = 0.25  # until an answer was seen; 50 to 500 ms are usual
TIMES: Final = 4.0  # the typical latency
LEAST_S: Final = 0.75  # a long tail is no trouble
ALONE_TIMES: Final = 2.0
BLIND_EVERY_S: Final = 1.0
LATELY: Final = 65  # answers; odd, so that the middle is one of them
LATEST: Final = 3  # so soon it is clear that all are slow now
PER_ANSWER: Final = 0.1
AT_MOST: Final = 10.0

# -- consequences
FIRST_S: Final = 2.0  # any bot may be late once
LONGEST_S: Final = 60.0
# Rest of an account whose requests Valve counts differently than we do.
SPENT_EARLY_S: Final = 3600.0
# Until a bot is used again that has not confirmed its lease: longer than Redis may take to answer.
UNCERTAIN_S: Final = 5.0
# Rest of an account that was left for a spare one: the trial may show that it was not at fault.
LEFT_FOR_SPARE_S: Final = 600.0
# Between two looks whether an address is still spent: Redis may lose the count, or an operator resets it.
ADDRESS_LOOK_S: Final = 2.0


class Hedging:
    """Measures response times and bounds hedges (a second bot that is asked for the same match).

    A request is *overdue* when it takes several times as long as answers lately took: another bot most
    likely has an answer sooner. A hedge costs one of a daily budget, and when all bots are slow it makes
    the GC slower. So there is one for ten answers, plus a few at the start, and none while nothing is
    answered after one. A request is *slow* or *silent* only in comparison with the answers that came
    since it was sent; without any, it is silent after `ALONE_TIMES` the request timeout.
    """

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=LATELY)  # when, and after how long
        self._typical_s: float | None = TYPICAL_S  # None: to be computed
        self._allowance = AT_MOST
        self.is_answered = True  # whether an answer came since the last hedge
        self._blind_at = -math.inf

    def answered(self, seconds: float, now: float) -> None:
        """Note how long an answer took that has just come."""
        self._answers.append((now, seconds))
        self._typical_s = None
        self.is_answered = True
        self._allowance = min(AT_MOST, self._allowance + PER_ANSWER)

    @property
    def overdue_s(self) -> float:
        """After how many seconds a request is overdue."""
        if self._typical_s is None:  # the median: a slow bot among many does not move it
            latencies = [seconds for _, seconds in self._answers]
            self._typical_s = max(_median(latencies), _median(latencies[-LATEST:]))
        return max(LEAST_S, TIMES * self._typical_s)

    @property
    def is_allowed(self) -> bool:
        """Whether one more hedge is within bounds."""
        return self._allowance >= 1.0

    def hedged(self) -> None:
        """Count a hedge."""
        self._allowance -= 1.0
        self.is_answered = False

    def ask_blindly(self, now: float) -> bool:
        """Return whether one more bot may be asked while none is answered, and count it.

        One in `BLIND_EVERY_S`, over all matches: where the GC itself is away more do not help.
        """
        if now - self._blind_at < BLIND_EVERY_S:
            return False
        self._blind_at = now
        return True

    def is_slow(self, asked_at: float, now: float) -> bool | None:
        """Whether a request takes longer than those answered since it was sent; None: none was."""
        slow_s = self._slow_s(asked_at)
        return None if slow_s is None else now - asked_at >= slow_s

    def silent_at(self, asked_at: float, timeout_s: float) -> float:
        """Return when an unanswered request counts as silence, by the answers so far."""
        slow_s = self._slow_s(asked_at)
        if slow_s is None:
            return asked_at + max(ALONE_TIMES * timeout_s, self.overdue_s)
        return asked_at + max(timeout_s, slow_s)

    def _slow_s(self, asked_at: float) -> float | None:
        """Return how long a request may take, by the answers since then; None without any."""
        newest_first = reversed(self._answers)
        later = itertools.takewhile(lambda one: one[0] > asked_at, newest_first)
        meanwhile = [seconds for _, seconds in later]
        return max(LEAST_S, TIMES * _median(meanwhile)) if meanwhile else None


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def penalty_s(times: int) -> float:
    """Return how long a slow bot is deprioritised; `times`: how often it was before, in a row."""
    return backoff_s(times + 1, base=FIRST_S, cap=LONGEST_S)


@dataclass(eq=False)
class BotHealth:
    """Decides the standing of bots by the outcome of their requests. Owned by the router."""

    _pool: BotPool
    _accounts: AccountStore
    _metrics: RouterMetrics
    _clock: Clock
    _log: FilteringBoundLogger
    hedging: Hedging = field(default_factory=Hedging)
    unanswered: UnansweredTracker = field(default_factory=UnansweredTracker)
    failures: FirstFailures = field(default_factory=FirstFailures)  # of attempts
    _breakers: CircuitBreakers = field(default_factory=CircuitBreakers)
    _opened: FirstFailures = field(default_factory=FirstFailures)
    _times_slow: dict[str, int] = field(default_factory=dict)  # by account, in a row
    _dropped_at: dict[str, float] = field(default_factory=dict)  # by account, until it is answered
    _trial: ReadyBot | None = None  # left for a spare account, whose first answer is evidence
    _watched: set[str] = field(default_factory=set)  # spent addresses
    _tasks: Tasks = field(default_factory=Tasks)

    async def stop(self) -> None:
        """End what runs in the background."""
        self._tasks.cancel()
        await self._tasks.finish()

    def standing_of_new(self, account: str) -> Standing:
        """Return the standing of a bot that has just become ready."""
        return Standing.PROBATION if account in self._breakers.open else Standing.GOOD

    # -- outcomes of a request -----------------------------------------------------------------

    def answered(self, bot: ReadyBot, match_id: int, asked_at: float, useless: Why | None) -> None:
        """The GC said something about a match; `useless`: why that is of no use, if it is not."""
        account, now = bot.account, self._clock.now()
        is_slow = self.slow(bot, asked_at)
        if not is_slow:
            self._times_slow.pop(account, None)
        is_open = account in self._breakers.open
        self.hedging.answered(now - asked_at, now)
        self._dropped_at.pop(account, None)
        self._opened.succeeded(account)
        if useless is None:
            self.failures.succeeded(account)
        self._pool.answered(bot, is_good=is_open or not is_slow)
        self._breakers.answered(account)
        for spent in self.unanswered.answered(account, match_id, now, is_useful=useless is None):
            self._rotate_early(spent)
        if useless is not None and self.unanswered.useless(account, match_id, useless, now):
            self._log.warning("match_set_aside", match_id=match_id, reason=useless.value)
        if self._trial is not None:
            self._judge_trial(bot)

    def slow(self, bot: ReadyBot, asked_at: float) -> bool:
        """Deprioritise a bot if it is slower than others are meanwhile; return whether it is.

        Not a bot whose circuit is open: its silence says more.
        """
        now = self._clock.now()
        if not self.hedging.is_slow(asked_at, now):
            return False
        standing = self._pool.rotation.standing(bot)
        is_open = bot.account in self._breakers.open
        if not is_open and standing not in (None, Standing.PAUSED, Standing.DEPRIORITISED):
            times = self._times_slow.get(bot.account, 0)
            self._times_slow[bot.account] = times + 1
            seconds = penalty_s(times)
            self._pool.set_standing(bot, Standing.DEPRIORITISED, seconds)
            write = self._log.debug if times else self._log.info
            write("bot_deprioritised", account=bot.account, delay_s=seconds)
        return True

    def silent(
        self, bot: ReadyBot, match_id: int, asked_at: float | None, *, others_got_it: bool
    ) -> None:
        """No answer came for long enough to be evidence, over a connection that is alive.

        `asked_at`: None where the GC threw the request away. One such request is over too soon to see
        whether others are answered meanwhile, so the time since the one before it counts.
        """
        account, now, since = bot.account, self._clock.now(), asked_at
        if since is None:
            since = self._dropped_at.get(account, now)
            self._dropped_at[account] = now
        self._break_circuit(bot, since)
        if others_got_it:
            if self.unanswered.missed(account, match_id, now):
                self._rotate_early(account)
        elif self.unanswered.silent(account, match_id, now):
            self._log.warning("match_set_aside", match_id=match_id, reason=Why.SILENT.value)

    def broke(self, account: str) -> None:
        """The connection of an account broke; requests that were unanswered over it are no evidence."""
        self._dropped_at.pop(account, None)
        self.unanswered.connection_broke(account)

    def refused(self, bot: ReadyBot, refused: Refused) -> None:
        """The store did not reserve a request for a bot."""
        self._metrics.refusals[refused.scope].inc()
        self._suspend(bot, refused)

    # -- consequences --------------------------------------------------------------------------

    def _suspend(self, bot: ReadyBot, refused: Refused) -> None:
        is_known = refused.scope == "ip" and bot.ip in self._pool.availability.spent_addresses
        write = self._log.debug if is_known else self._log.info
        scope, delay_s = refused.scope, refused.retry_after
        write("budget_refused", account=bot.account, scope=scope, delay_s=delay_s)
        if bot.bot_id in self._pool.retired:
            return
        if scope == "lease":
            self._pool.set_standing(bot, Standing.SUSPENDED, UNCERTAIN_S)
            self._tell(bot, CheckLease())
        elif scope == "ip":
            ip = str(bot.ip)
            self._pool.suspend(bot, "ip", delay_s)
            if ip not in self._watched:
                self._watched.add(ip)
                self._tasks.start(self._watch_address(ip), name=f"address-{ip}")
        else:
            now = self._clock.now()
            self._pool.availability.budget_frees(now + delay_s, now)
            is_told = self._tell(bot, BudgetSpent(delay_s))
            if self._pool.rotation.standing(bot) is not None:
                self._pool.rotate(bot.bot_id)  # the bot says so itself, but only after this turn
                self._pool.suspend(bot, "account", delay_s if is_told else UNCERTAIN_S)

    async def _watch_address(self, ip: str) -> None:
        """Use a spent address again as soon as Redis counts less than its budget."""
        while ip in self._pool.availability.spent_addresses:
            await self._clock.sleep(ADDRESS_LOOK_S)
            with contextlib.suppress(AccountError):  # the time at which it frees is known
                if not await self._accounts.address_frees_in(ip):
                    self._pool.free_address(ip)
        self._watched.discard(ip)

    def _rotate_early(self, account: str) -> None:
        """An account is spent, whatever our own counters say."""
        self._log.warning("account_spent_early", account=account, delay_s=SPENT_EARLY_S)
        if (bot := self._pool.rotation.of_account(account)) is not None:
            self._suspend(bot, Refused("account", SPENT_EARLY_S))

    def _judge_trial(self, bot: ReadyBot) -> None:
        """Half-open the circuits of silent accounts at once when a spare account was answered."""
        left = self._trial
        if left is None or left.bot_id != bot.bot_id or left.account == bot.account:
            return
        self._trial = None
        self._breakers.trial_won(self._clock.now())
        for account in tuple(self._breakers.open):
            if (silent := self._pool.rotation.of_account(account)) is not None:
                self._pool.resume(silent)

    def _break_circuit(self, bot: ReadyBot, since: float) -> None:
        """Do what the account's circuit breaker asks for after a silence."""
        standing = self._pool.rotation.standing(bot)
        if standing in (None, Standing.PAUSED):  # paused, or gone, since it was asked
            return
        account, now = bot.account, self._clock.now()
        step = self._breakers.silent(
            account,
            now,
            unanswered=self._pool.rotation.unanswered_by(bot),
            is_half_open=standing is Standing.PROBATION and account in self._breakers.open,
            others_answer=self.unanswered.is_other_answered(account, since),
        )
        if step is Step.NOTHING:
            return
        self._metrics.circuits_opened[step].inc()
        is_news = self._opened.is_news(account, step)
        write = self._log.warning if is_news else self._log.debug
        write("circuit_opened", account=account, step=step.name.lower())
        self.unanswered.disregard(account)
        if step in (Step.PAUSE, Step.SPARE):
            self._pool.set_standing(bot, Standing.PAUSED, self._breakers.pause_s(account))
            if step is Step.SPARE:
                self._trial = bot
                self._tell(bot, Relog("silent; a spare account is tried", LEFT_FOR_SPARE_S))
        elif step is Step.RELOG:
            if self._tell(bot, Relog("nothing is answered over this session")):
                self._pool.remove(bot.bot_id, is_coming=True)
            else:
                self._pool.set_standing(bot, Standing.PAUSED, UNCERTAIN_S)
        else:
            self._suspend(bot, Refused("account", SPENT_EARLY_S))

    def _tell(self, bot: ReadyBot, message: BudgetSpent | CheckLease | Relog) -> bool:
        try:
            bot.address.tell(message)
        except LocalProtocolError:  # the bot is about to end, or its mailbox is full
            self._log.debug("notice_undelivered", account=bot.account, notice=str(message))
            return False
        return True
