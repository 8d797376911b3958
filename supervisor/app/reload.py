"""Reloads the settings and applies changes to the running components.

A bad edit changes nothing: its reason goes to the log and to `report`, and stays there until the file is
good again. Knows neither how edits are noticed (followed_file.py, watch.py) nor what applying one takes
(tree.py).

Actors get a message; each plain object has one method that replaces its limits. A component that starts
later is built from the settings of that moment anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.logon_limiter import LogonLimiter
from actors.accounts.store import AccountStore
from actors.actor import Address
from actors.errors import AccountError, ActorStopped, MailboxFull
from actors.http.routes.match_fetcher import MatchFetcher
from actors.router.messages import Reconfigure, RouterMessage
from supervisor.app.fleet import Fleet
from supervisor.app.policies import GOODBYE_S, log_on_limits, quota_limits, router_policy
from supervisor.app.web import HttpAccess, Operators
from supervisor.clock import SystemClock
from supervisor.config.changes import change
from supervisor.config.errors import ConfigError, without_password
from supervisor.config.file_watch import FollowedFile
from supervisor.config.load import DEFAULT_FILE, Loaded
from supervisor.config.model import Settings
from supervisor.logs.setup import change_level

Apply = Callable[[Settings], Awaitable[None]]  # lets everything that runs go by these


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """The settings' own state, as `/status` shows it."""

    source: str  # the file's name, or "defaults"
    applied_at: float  # UTC seconds
    refused: str | None  # why the file as it is now is not in effect
    needs_restart: tuple[str, ...]  # keys that wait for one


class LiveSettings(FollowedFile):
    """The settings in effect, reloaded when config.toml changes."""

    def __init__(
        self,
        loaded: Loaded,
        apply: Apply,
        *,
        wall: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        log: FilteringBoundLogger,
    ) -> None:
        """`loaded` is in effect already; `wall`: UTC seconds."""
        super().__init__(sleep)
        self._loaded = loaded
        self._running = loaded.settings
        self._apply = apply
        self._wall = wall
        self._log = log.bind(actor="config")
        self._report = ConfigReport(_name(loaded), wall(), None, ())

    @property
    def file(self) -> Path:
        """The file that is followed, whether or not it exists."""
        return self._loaded.file or DEFAULT_FILE

    def report(self) -> Mapping[str, Any]:
        """Return the `ConfigReport` of now as a mapping."""
        return asdict(self._report)

    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        try:
            wanted = await asyncio.to_thread(self._load, content)
        except ConfigError as error:
            self._refuse(error)
        else:
            await self._accept(wanted, self._log.info if is_asked_for else self._log.debug)

    def _load(self, content: bytes | None) -> Loaded:
        if content is not None and not content.strip() and self._loaded.in_file:
            # Valid TOML, and every default. A full disk or a slow writer leaves the same.
            raise ConfigError(str(self.file), "is empty; for the defaults leave a comment in it")
        return self._loaded.again()

    def _refuse(self, error: ConfigError) -> None:
        reason = without_password(str(error))
        self._log.error("config_refused", reason=reason, key=error.key)
        self._report = ConfigReport(
            _name(self._loaded), self._report.applied_at, reason, self._report.needs_restart
        )

    async def _accept(self, wanted: Loaded, tell_unchanged: Callable[..., Any]) -> None:
        step = change(self._running, wanted.settings)
        facts: dict[str, Any] = {"source": _name(wanted)}
        if hidden := overridden(self._loaded, wanted):
            facts["overridden"] = hidden
        if step.needs_restart:
            facts["needs_restart"] = step.needs_restart
        if step.applied:
            await self._apply(step.effective)
        is_news = bool(step.applied or hidden or step.needs_restart != self._report.needs_restart)
        if is_news or self._report.refused is not None:
            self._log.info("config_applied", changed=step.applied, **facts)
        else:
            tell_unchanged("config_unchanged", **facts)
        # Last: a line about the new level is still written by the old one.
        change_level(step.effective.log.level)
        self._loaded, self._running = wanted, step.effective
        applied_at = self._wall() if step.applied else self._report.applied_at
        self._report = ConfigReport(_name(wanted), applied_at, None, step.needs_restart)


def overridden(before: Loaded, after: Loaded) -> dict[str, str]:
    """Return the variable that wins, for each key that was edited in vain."""
    keys = before.in_file.keys() | after.in_file.keys()
    return {
        key: after.sources[key]
        for key in sorted(keys)
        if before.in_file.get(key) != after.in_file.get(key)
        and after.sources.get(key, _name(after)) != _name(after)
    }


def _name(loaded: Loaded) -> str:
    return "defaults" if loaded.file is None else str(loaded.file)


STORE_RETRY_S: Final = 5.0
MAILBOX_RETRY_S: Final = 0.05


class Reconfigurer:
    """Applies changed settings to the running components."""

    def __init__(
        self,
        *,
        accounts: AccountStore,
        pacing: LogonLimiter,
        asker: MatchFetcher,
        router: Address[RouterMessage],
        fleet: Fleet,
        door: HttpAccess,
        operators: Operators,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        self._accounts = accounts
        self._pacing = pacing
        self._asker = asker
        self._router = router
        self._fleet = fleet
        self._door = door
        self._operators = operators
        self._clock = clock
        self._log = log
        self._forgiving: asyncio.Task[None] | None = None

    async def apply(self, before: Settings, settings: Settings) -> None:
        """Change all running components from the settings `before` to `settings`."""
        quota_changed = before.quota != settings.quota
        self._pacing.change_limits(log_on_limits(settings))
        self._asker.change_deadline(settings.http.deadline)
        self._door.apply(settings.http)
        self._accounts.change_quota(quota_limits(settings))
        self._operators.change_quota(quota_limits(settings))
        await self._tell_router(Reconfigure(router_policy(settings), budgets_changed=quota_changed))
        if quota_changed:
            await self._stop_forgiving()
            self._forgiving = asyncio.create_task(self._forgive_spent(), name="forgive-spent")
        await self._fleet.apply(settings)

    async def close(self) -> None:
        """End what still goes on of the last change; the fleet's supervisor has ended before."""
        await self._stop_forgiving()
        await self._fleet.close()

    async def _tell_router(self, message: Reconfigure) -> None:
        while True:
            try:
                return self._router.tell(message)
            except MailboxFull:
                await self._clock.sleep(MAILBOX_RETRY_S)
            except ActorStopped:
                return None  # its next life starts with these settings

    async def _forgive_spent(self) -> None:
        """Let accounts that were spent by other budgets be tried, when Redis is there to say so.

        Twice: a bot that was on its way out just then puts its account aside a little later.
        """
        await self._forgive_once()
        await self._clock.sleep(GOODBYE_S)
        await self._forgive_once()

    async def _forgive_once(self) -> None:
        is_told = False
        while True:
            try:
                return await self._accounts.clear_quota_cooldowns()
            except AccountError as error:
                if not is_told:
                    self._log.warning(
                        "budgets_unforgiven", reason=str(error), delay_s=STORE_RETRY_S
                    )
                    is_told = True
                await self._clock.sleep(STORE_RETRY_S)

    async def _stop_forgiving(self) -> None:
        if self._forgiving is not None:
            self._forgiving.cancel()
            await asyncio.wait({self._forgiving})
