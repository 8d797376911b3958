"""The API keys in effect, and how an edit of their file becomes them; sees both halves, like tree.py.

As with the settings, a bad edit changes nothing and its reason goes to the log. Names are logged, never a
key or a hash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.http.api_keys import ApiKey, BadKeys, KeyRing, parse_keys
from supervisor.followed_file import FollowedFile
from supervisor.settings import ConfigError

SETTING: Final = "http.api_keys_file"


class LiveKeys(FollowedFile):
    """The API keys in effect, reloaded when their file changes."""

    def __init__(
        self,
        file: Path,
        *,
        sleep: Callable[[float], Awaitable[None]],
        log: FilteringBoundLogger,
    ) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it cannot be read or used.
        """
        super().__init__(sleep)
        self._file = file
        self._log = log
        self._keys = read_keys(file)
        self._is_refused = False
        self.ring = KeyRing(self._keys)

    @property
    def file(self) -> Path:
        """The file that is followed."""
        return self._file

    async def _take_in(self, content: bytes | None, *, is_asked_for: bool) -> None:
        try:
            keys = self._checked(content)
        except BadKeys as problem:
            self._is_refused = True
            self._log.error("api_keys_refused", file=str(self._file), reason=str(problem))
            return
        if keys != self._keys or self._is_refused or is_asked_for:
            self._log.info("api_keys_applied", **_difference(self._keys, keys))
        self._is_refused = False
        self._keys = keys
        self.ring.replace(keys)

    def _checked(self, content: bytes | None) -> tuple[ApiKey, ...]:
        if content is not None and not content.strip() and self._keys:
            # A full disk or a slow writer leaves the same.
            raise BadKeys("it is empty; to refuse all clients, write a comment into it")
        return _parsed(content)


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Return the keys in `file`.

    Raises:
        ConfigError: it cannot be read or used.
    """
    try:
        return _parsed(file.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            SETTING, f"there is no {file}; make the first key with: botapi keys add NAME"
        ) from None
    except OSError as error:
        raise ConfigError(SETTING, f"{file} cannot be read: {error.strerror}") from None
    except BadKeys as problem:
        raise ConfigError(SETTING, f"{file}: {problem}") from None


def _parsed(content: bytes | None) -> tuple[ApiKey, ...]:
    if content is None:
        raise BadKeys("it cannot be read")
    try:
        return parse_keys(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadKeys("it is not UTF-8 text") from None


def _difference(before: tuple[ApiKey, ...], after: tuple[ApiKey, ...]) -> dict[str, object]:
    old = {key.client.name: key for key in before}
    new = {key.client.name: key for key in after}
    return {
        "count": len(new),
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }
