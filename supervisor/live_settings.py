"""The settings in effect, and how an edit becomes them: read, checked whole, applied, told.

A bad edit changes nothing: its reason goes to the log and to `report`, and stays there until the file is
good again. Knows neither how edits are noticed (followed_file.py, watch.py) nor what applying one takes
(tree.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from supervisor.followed_file import FollowedFile
from supervisor.logs import change_level
from supervisor.settings import DEFAULT_FILE, Loaded
from supervisor.settings_changes import change
from supervisor.settings_errors import ConfigError, without_password
from supervisor.settings_model import Settings

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
