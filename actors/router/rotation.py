"""Round robin over ready bots with room, in O(1), and the standing of each bot.

A bot takes part while it has fewer than `max_in_flight` requests and its pacing interval is over, and no
`OPENS_AFTER` requests in a row stayed unanswered. Each use moves a bot to the end of its queue, so
that is in order of last use. Bots that are deprioritised or have overdue requests have a queue of their
own, which is used only when there is no other bot.
"""

from __future__ import annotations

import contextlib
import enum
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from actors.bot.messages import ReadyBot
from actors.router.unanswered import OPENS_AFTER


class Standing(enum.Enum):
    """How a ready bot is used."""

    GOOD = enum.auto()  # in turn
    PROBATION = enum.auto()  # in turn, one request at a time
    DEPRIORITISED = enum.auto()  # only when there is no other bot
    PAUSED = enum.auto()  # not at all, and it does not count as ready
    SUSPENDED = enum.auto()  # not at all until its lease is confirmed; it counts as busy


@dataclass(slots=True)
class _Entry:
    bot: ReadyBot
    base: Standing  # the standing without a suspension
    is_suspended: bool = False
    in_flight: int = 0
    used_at: float = -math.inf  # clock seconds
    used_before: float = -math.inf  # the use before that
    overdue: int = 0  # of those in flight, late ones included
    unanswered: int = 0  # requests that became overdue since the last answer
    answered_at: float = -math.inf
    on_idle: Callable[[], None] | None = None  # of a retired bot

    @property
    def standing(self) -> Standing:
        return Standing.SUSPENDED if self.is_suspended else self.base

    @property
    def is_second(self) -> bool:
        """Whether the bot is used only when there is no other."""
        return self.overdue > 0 or self.base is Standing.DEPRIORITISED


_Queue = OrderedDict[str, _Entry]  # by bot id, in order of last use


class RoundRobin:
    """The rotation of ready bots. Pure bookkeeping: time is an argument."""

    def __init__(self, max_in_flight: int, min_interval_s: float) -> None:
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        self._entries: dict[str, _Entry] = {}  # by bot id; bots that are not paused
        self.paused: dict[str, _Entry] = {}  # by bot id
        self._retired: dict[str, _Entry] = {}  # only while they have requests in flight
        self._of_account: dict[str, _Entry] = {}
        self._first: _Queue = OrderedDict()
        self._second: _Queue = OrderedDict()  # used only when there is no other bot
        self._seconds = 0  # entries of the second queue, busy ones included

    def reconfigure(self, max_in_flight: int, min_interval_s: float) -> None:
        """Apply new limits from now on; a bot with more in flight than allowed gets no more."""
        self._max_in_flight = max_in_flight
        self._min_interval_s = min_interval_s
        for entry in self._entries.values():
            self._enqueue(entry)

    def __len__(self) -> int:
        """How many bots are ready, busy ones included."""
        return len(self._entries)

    def bots(self) -> list[ReadyBot]:
        """Return all ready bots, busy or not."""
        return [entry.bot for entry in self._entries.values()]

    def of_account(self, account: str) -> ReadyBot | None:
        """Return the bot that uses an account, paused or not, if there is one."""
        entry = self._of_account.get(account)
        return None if entry is None else entry.bot

    def has_others(self, accounts: frozenset[str], *, good: bool = False) -> bool:
        """Whether a ready bot (`good`: of the first queue), busy or not, uses another account."""
        known = (self._of_account.get(account) for account in accounts)
        ready = [one for one in known if one and one.base is not Standing.PAUSED]
        if good:
            avoided = sum(not entry.is_second for entry in ready)
            return len(self._entries) - self._seconds > avoided
        return len(self._entries) > len(ready)

    @property
    def is_any_answered(self) -> bool:
        """Whether a bot may get requests, as far as answers go."""
        return any(entry.unanswered < OPENS_AFTER for entry in self._entries.values())

    def loads(self) -> Mapping[str, int]:
        """Requests in flight by bot id; of retired bots only those that have any."""
        entries = self._entries | self._retired
        return {bot_id: entry.in_flight for bot_id, entry in entries.items()}

    def add(self, bot: ReadyBot, standing: Standing = Standing.GOOD) -> None:
        """Add a bot, or replace the one of the same id."""
        self.remove(bot.bot_id)
        entry = _Entry(bot, standing)
        self._entries[bot.bot_id] = self._of_account[bot.account] = entry
        self._seconds += entry.is_second
        self._enqueue(entry)

    def remove(self, bot_id: str) -> None:
        """Remove a bot, whatever it is doing."""
        paused, entry = self.paused.pop(bot_id, None), self._take_out(bot_id)
        if (gone := entry or paused) and self._of_account.get(gone.bot.account) is gone:
            del self._of_account[gone.bot.account]

    def retire(self, bot_id: str, on_idle: Callable[[], None]) -> None:
        """Remove a bot, but count what it has in flight; then call `on_idle`."""
        entry = self._entries.get(bot_id) or self._retired.get(bot_id)
        self.remove(bot_id)
        if entry is None or not entry.in_flight:
            on_idle()
        else:
            entry.on_idle = on_idle
            self._retired[bot_id] = entry

    # -- standing ------------------------------------------------------------------------------

    def standing(self, bot: ReadyBot) -> Standing | None:
        """Return the standing of this very bot; None where it is not in the rotation."""
        entry = self._entries.get(bot.bot_id) or self.paused.get(bot.bot_id)
        return entry.standing if entry is not None and entry.bot is bot else None

    def set_standing(self, bot: ReadyBot, standing: Standing) -> None:
        """Give a bot that is not paused another standing."""
        if (entry := self._entry(bot)) is None:
            return
        if standing is Standing.PAUSED:
            self._take_out(bot.bot_id)
            self.paused[bot.bot_id] = entry
            entry.base, entry.is_suspended = standing, False
            return
        with self._changing(entry):
            if standing is Standing.SUSPENDED:
                entry.is_suspended = True
            else:
                entry.base = standing

    def end_standing(self, bot: ReadyBot, standing: Standing) -> None:
        """End a standing: a suspended bot stands as before then, every other one is on probation."""
        if (entry := self._entry(bot)) is None:
            return
        if standing is Standing.SUSPENDED and entry.is_suspended:
            with self._changing(entry):
                entry.is_suspended = False
        elif entry.base is standing:
            with self._changing(entry):
                entry.base = Standing.PROBATION

    def overdue(self, bot: ReadyBot) -> None:
        """Note that one more request of a bot is overdue."""
        if (entry := self._entry(bot)) is not None:
            with self._changing(entry):
                entry.overdue += 1
                entry.unanswered += 1

    def not_overdue(self, bot: ReadyBot, *, is_silence: bool) -> None:
        """Note that an overdue request counts as silence now, or ended by something else."""
        if (entry := self._entry(bot)) is not None:
            with self._changing(entry):
                entry.overdue = max(0, entry.overdue - 1)  # it may have been answered since
                if not is_silence:
                    entry.unanswered = max(0, entry.unanswered - 1)

    def unanswered_by(self, bot: ReadyBot) -> int:
        """Return how many requests of a bot became overdue since its last answer."""
        entry = self._entry(bot)
        return 0 if entry is None else entry.unanswered

    def answered(self, bot: ReadyBot, now: float, *, is_good: bool) -> None:
        """Note an answer: nothing is overdue any more; `is_good`: the bot is as good as any."""
        if (entry := self._entry(bot)) is None:
            return
        entry.answered_at = now
        is_better = is_good and entry.base is not Standing.GOOD
        if entry.unanswered or is_better:
            with self._changing(entry):
                entry.overdue = entry.unanswered = 0
                if is_better:
                    entry.base = Standing.GOOD

    @contextlib.contextmanager
    def _changing(self, entry: _Entry) -> Iterator[None]:
        """Move an entry to the queue where it belongs after a change."""
        self._queue_of(entry).pop(entry.bot.bot_id, None)
        self._seconds -= entry.is_second
        yield
        self._seconds += entry.is_second
        self._enqueue(entry)

    # -- taking turns --------------------------------------------------------------------------

    def take(self, now: float, avoid: frozenset[str] = frozenset()) -> ReadyBot | None:
        """Give the next bot one more request, or return None when no bot has room.

        Accounts in `avoid` (they failed this request before) are used only when no other bot has room.
        """
        entry = self._best(now, avoid) or self._best(now, frozenset())
        return None if entry is None else self._used(entry, now)

    def take_idle(
        self, now: float, avoid: frozenset[str], *, answered_since: float
    ) -> ReadyBot | None:
        """Give a bot one more request that is idle, or was answered since then; None without one.

        Whether other bots are still answered is not known. Accounts in `avoid` are never used.
        """
        for entry in self._first.values():
            if self._rests_until(entry) > now:
                break
            is_fit = not entry.in_flight or entry.answered_at > answered_since
            if is_fit and entry.bot.account not in avoid:
                return self._used(entry, now)
        return None

    def release(self, bot: ReadyBot, *, unused_since: float | None = None) -> None:
        """End one request of `bot`; one that has left meanwhile is ignored.

        `unused_since`: the request was not made after all. The bot, taken then, is next in turn and does
        not rest, unless another request took it since.
        """
        retired = self._retired.get(bot.bot_id)
        if retired is not None and retired.bot is bot:
            retired.in_flight -= 1
            if not retired.in_flight and retired.on_idle is not None:
                del self._retired[bot.bot_id]
                retired.on_idle()
            return
        if (entry := self._entry(bot)) is None:
            return
        entry.in_flight = max(0, entry.in_flight - 1)  # it may have been paused since
        self._enqueue(entry)
        if unused_since is not None and entry.used_at <= unused_since:
            entry.used_at = entry.used_before
            queue = self._queue_of(entry)
            if bot.bot_id in queue:
                queue.move_to_end(bot.bot_id, last=False)

    def next_rest_over(self, now: float) -> float | None:
        """Seconds until the first resting bot may be used again, or None when no bot rests."""
        heads = [next(iter(queue.values())) for queue in (self._first, self._second) if queue]
        return max(0.0, min(map(self._rests_until, heads)) - now) if heads else None

    def _used(self, entry: _Entry, now: float) -> ReadyBot:
        entry.in_flight += 1
        entry.used_before, entry.used_at = entry.used_at, now
        del self._queue_of(entry)[entry.bot.bot_id]
        self._enqueue(entry)
        return entry.bot

    def _entry(self, bot: ReadyBot) -> _Entry | None:
        """Return the entry of this very bot, not of an earlier session; None while it is paused."""
        entry = self._entries.get(bot.bot_id)
        return entry if entry is not None and entry.bot is bot else None

    def _take_out(self, bot_id: str) -> _Entry | None:
        if (entry := self._entries.pop(bot_id, None)) is not None:
            self._queue_of(entry).pop(bot_id, None)
            self._seconds -= entry.is_second
        return entry

    def _queue_of(self, entry: _Entry) -> _Queue:
        return self._second if entry.is_second else self._first

    def _enqueue(self, entry: _Entry) -> None:
        """Put an entry into its queue while it has room, at the end unless it is there already."""
        if entry.is_suspended:
            has_room = False
        elif entry.base is Standing.PROBATION:
            has_room = not entry.in_flight and not entry.overdue
        else:
            has_room = entry.in_flight < self._max_in_flight and entry.unanswered < OPENS_AFTER
        if has_room:
            self._queue_of(entry).setdefault(entry.bot.bot_id, entry)
        else:
            self._queue_of(entry).pop(entry.bot.bot_id, None)

    def _rests_until(self, entry: _Entry) -> float:
        return entry.used_at + self._min_interval_s

    def _best(self, now: float, avoid: frozenset[str]) -> _Entry | None:
        """Return the head of the first queue; of the second where the first has no bots at all."""
        found = self._head(self._first, now, avoid)
        if found is None and not self.has_others(avoid, good=True):
            found = self._head(self._second, now, avoid)
        return found

    def _head(self, queue: _Queue, now: float, avoid: frozenset[str]) -> _Entry | None:
        # In order of last use: the bots behind a resting bot rest too, except one that was at its
        # limit until now, and that one waits no longer than one interval.
        for entry in queue.values():
            if self._rests_until(entry) > now:
                return None
            if entry.bot.account not in avoid:
                return entry
        return None
