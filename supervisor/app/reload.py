"""Reloads the settings and applies changes to the running components.

A bad edit changes nothing: its reason goes to the log and to `report`, and stays there until the file is
good again. A component that starts later is built from the settings of that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.store import AccountStore
from actors.actor import Address
from actors.clock import Clock, end
from actors.errors import AccountError, ActorStopped, MailboxFull
from actors.router.messages import Reconfigure, RouterMessage
from supervisor.app.fleet import Fleet
from supervisor.app.policies import GOODBYE_S, router_policy
from supervisor.app.settings import load
from supervisor.clock import SystemClock
from supervisor.config.changes import change
from supervisor.config.errors import ConfigError, without_password
from supervisor.config.file_watch import FollowedFile
from supervisor.config.load import DEFAULT_FILE, Loaded
from supervisor.config.model import Settings
from supervisor.logs.setup import change_level

Apply = Callable[[Settings], Awaitable[None]]  # changes all running components


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """State of the settings, as `/status` shows it."""

    source: str  # the file's name, or "defaults"
    applied_at: float  # UTC seconds
    refused: str | None  # why the present file is not in effect
    needs_restart: tuple[str, ...]  # keys whose edits wait for a restart


class LiveSettings(FollowedFile):
    """The settings in effect, reloaded when config.toml changes."""

    def __init__(
        self,
        loaded: Loaded,
        apply: Apply,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`loaded`: the settings in effect."""
        super().__init__(clock.sleep)
        self._loaded = loaded
        self._running = loaded.settings
        self._apply = apply
        self._clock = clock
        self._log = log.bind(actor="config")
        self._report = ConfigReport(_name(loaded), clock.wall(), None, ())

    @property
    def file(self) -> Path:
        """The file that is followed, whether or not it exists."""
        return self._loaded.file or DEFAULT_FILE

    def report(self) -> Mapping[str, Any]:
        """Return the present `ConfigReport` as a mapping."""
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
            # An empty file means the defaults, but a full disk or a slow writer leaves one too.
            raise ConfigError(str(self.file), "is empty; for the defaults leave a comment in it")
        return load(self._loaded.file, sandbox=self._loaded.is_sandboxed)

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
        applied_at = self._clock.wall() if step.applied else self._report.applied_at
        self._report = ConfigReport(_name(wanted), applied_at, None, step.needs_restart)


def overridden(before: Loaded, after: Loaded) -> dict[str, str]:
    """Return the overriding variable of each edited key that the environment overrides."""
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
        components: Sequence[Callable[[Settings], None]],
        *,
        accounts: AccountStore,
        router: Address[RouterMessage],
        fleet: Fleet,
        clock: SystemClock,
        log: FilteringBoundLogger,
    ) -> None:
        """`components`: each calls the `reconfigure` of one component with its limits."""
        self._components = components
        self._accounts = accounts
        self._router = router
        self._fleet = fleet
        self._clock = clock
        self._log = log
        self._clearing: asyncio.Task[None] | None = None

    async def apply(self, before: Settings, settings: Settings) -> None:
        """Change all running components from the settings `before` to `settings`."""
        for reconfigure in self._components:
            reconfigure(settings)
        quota_changed = before.quota != settings.quota
        await self._tell_router(Reconfigure(router_policy(settings), budgets_changed=quota_changed))
        if quota_changed:
            await self._stop_clearing()
            self._clearing = asyncio.create_task(self._clear_cooldowns(), name="clear-cooldowns")
        await self._fleet.reconfigure(settings)

    async def close(self) -> None:
        """End what the last change started; the fleet's supervisor has ended before."""
        await self._stop_clearing()
        await self._fleet.close()

    async def _tell_router(self, message: Reconfigure) -> None:
        while True:
            try:
                return self._router.tell(message)
            except MailboxFull:
                await self._clock.sleep(MAILBOX_RETRY_S)
            except ActorStopped:
                return None  # its next start reads these settings

    async def _clear_cooldowns(self) -> None:
        """End the cooldowns of accounts that were spent by the old budgets.

        Twice: a bot that was leaving its account then puts it into a cooldown a little later.
        """
        await self._clear_once()
        await self._clock.sleep(GOODBYE_S)
        await self._clear_once()

    async def _clear_once(self) -> None:
        is_logged = False
        while True:
            try:
                return await self._accounts.clear_quota_cooldowns()
            except AccountError as error:
                if not is_logged:
                    self._log.warning(
                        "quota_cooldowns_not_cleared", reason=str(error), delay_s=STORE_RETRY_S
                    )
                    is_logged = True
                await self._clock.sleep(STORE_RETRY_S)

    async def _stop_clearing(self) -> None:
        if self._clearing is not None:
            await end(self._clearing)
