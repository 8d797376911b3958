"""Reloads the settings and applies the changes that need no restart to the running components.

A bad edit changes nothing: its reason goes to the log and to `report`, and stays there until the file is
good again. A component that starts later is built from the settings of that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from actors.bot.registry import BotRegistry
from actors.clock import Clock, end
from actors.errors import AccountError
from actors.http.polled_metrics import PolledMetrics
from actors.http.routes.match_fetcher import MatchFetcher
from actors.matches.cache import Freshness
from actors.router.messages import Reconfigure, RouterPolicy
from supervisor.app.file_watch import FollowedFile
from supervisor.app.fleet import GOODBYE_S, Fleet
from supervisor.app.load_settings import load
from supervisor.app.stores import Stores
from supervisor.app.web import HttpAccess
from supervisor.config.errors import ConfigError, without_password
from supervisor.config.live_changes import change
from supervisor.config.load import DEFAULT_FILE, Loaded
from supervisor.config.model import Settings
from supervisor.logs.setup import change_level

STORE_RETRY_S: Final = 5.0


class LiveSettings(FollowedFile):
    """The settings in effect, reloaded when config.toml changes."""

    def __init__(
        self,
        loaded: Loaded,
        components: RunningComponents,
        *,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        """`loaded`: the settings in effect. `components`: those that a change applies to."""
        super().__init__(loaded.file or DEFAULT_FILE, clock)
        self.settings = loaded.settings
        self._loaded = loaded
        self._components = components
        self._log = log.bind(actor="config")
        self._report: dict[str, Any] = {
            "source": _name(loaded),
            "applied_at": clock.wall(),
            "refused": None,
            "needs_restart": (),
        }

    def report(self) -> Mapping[str, Any]:
        """Return the state of the settings, as `/status` shows it.

        `source`: the file's name, or "defaults". `applied_at`: UTC seconds. `refused`: why the
        present file is not in effect, or None. `needs_restart`: keys whose edits wait for a restart.
        """
        return self._report

    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        try:
            wanted = await asyncio.to_thread(self._load, content)
        except ConfigError as error:
            reason = without_password(str(error))
            self._log.error("config_refused", reason=reason, key=error.key)
            self._report = {**self._report, "refused": reason}
        else:
            await self._accept(wanted, self._log.info if is_asked_for else self._log.debug)

    def _load(self, content: bytes | None) -> Loaded:
        if content is not None and not content.strip() and self._loaded.in_file:
            # An empty file means the defaults, but a full disk or a slow writer leaves one too.
            raise ConfigError(str(self.file), "is empty; for the defaults leave a comment in it")
        return load(self._loaded.file, sandbox=self._loaded.is_sandboxed)

    async def _accept(self, wanted: Loaded, tell_unchanged: Callable[..., Any]) -> None:
        step, report = change(self.settings, wanted.settings), self._report
        facts: dict[str, Any] = {"source": _name(wanted)}
        if hidden := overridden(self._loaded, wanted):
            facts["overridden"] = hidden
        if step.needs_restart:
            facts["needs_restart"] = step.needs_restart
        if step.applied:
            before, self.settings = self.settings, step.effective
            await self._components.reconfigure(before, step.effective)
        is_news = bool(step.applied or hidden or step.needs_restart != report["needs_restart"])
        if is_news or report["refused"] is not None:
            self._log.info("config_applied", changed=step.applied, **facts)
        else:
            tell_unchanged("config_unchanged", **facts)
        # Last: a line about the new level is still written by the old one.
        change_level(step.effective.log.level)
        self._loaded = wanted
        self._report = {
            "source": _name(wanted),
            "applied_at": self._clock.wall() if step.applied else report["applied_at"],
            "refused": None,
            "needs_restart": step.needs_restart,
        }


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


@dataclass(eq=False, slots=True)
class RunningComponents:
    """The components that changed settings apply to."""

    stores: Stores
    fetcher: MatchFetcher
    access: HttpAccess
    registry: BotRegistry
    polled_metrics: PolledMetrics
    fleet: Fleet
    clock: Clock
    log: FilteringBoundLogger
    _clearing: asyncio.Task[None] | None = None

    async def reconfigure(self, before: Settings, settings: Settings) -> None:
        """Change all components from the settings `before` to `settings`."""
        self.stores.reconfigure(settings)
        self.fetcher.reconfigure(settings.http.deadline)
        self.access.reconfigure(settings.http)
        self.registry.reconfigure(stable_after_s=settings.restart.stable_after)
        self.polled_metrics.reconfigure(names_accounts=settings.metrics.accounts)
        quota_changed = before.quota != settings.quota
        message = Reconfigure(router_policy(settings), budgets_changed=quota_changed)
        await self.fleet.tell_router(message)  # a router that starts later reads these settings
        if quota_changed:
            await self._stop_clearing()
            self._clearing = asyncio.create_task(self._clear_cooldowns(), name="clear-cooldowns")
        await self.fleet.reconfigure(settings)

    async def close(self) -> None:
        """End what the last change started; the fleet's supervisor has ended before."""
        await self._stop_clearing()
        await self.fleet.close()

    async def _clear_cooldowns(self) -> None:
        """End the cooldowns of accounts that were spent by the old budgets.

        Twice: a bot that was leaving its account then puts it into a cooldown a little later.
        """
        await self._clear_once()
        await self.clock.sleep(GOODBYE_S)
        await self._clear_once()

    async def _clear_once(self) -> None:
        is_logged = False
        while True:
            try:
                return await self.stores.accounts.clear_quota_cooldowns()
            except AccountError as error:
                if not is_logged:
                    self.log.warning(
                        "quota_cooldowns_not_cleared", reason=str(error), delay_s=STORE_RETRY_S
                    )
                    is_logged = True
                await self.clock.sleep(STORE_RETRY_S)

    async def _stop_clearing(self) -> None:
        if self._clearing is not None:
            await end(self._clearing)


def router_policy(settings: Settings) -> RouterPolicy:
    """Return the limits of the router."""
    bots, cache = settings.bots, settings.cache
    return RouterPolicy(
        request_timeout_s=bots.request_timeout,
        max_in_flight=bots.max_in_flight,
        min_interval_s=bots.min_interval,
        queue=settings.http.queue,
        freshness=Freshness(cache.ttl, cache.recent_ttl, cache.negative_ttl, cache.memory_entries),
    )
