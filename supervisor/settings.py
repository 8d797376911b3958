"""The settings of one run: sources put together, checked, and where each value came from.

Sources, the later wins: the defaults, config.toml, ``BOTAPI_SECTION__KEY``, and last REDISTOGO_URL
and PORT, because a hosting platform that assigns a port listens on that one alone. The entry
point reads them once; each other component gets only the part that it needs and never reads the
environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr, ValidationError

from supervisor.settings_errors import ConfigError, fields, from_pydantic, without_password
from supervisor.settings_model import (
    LIVE_DIRECTORY_URL,
    LOGOFF_S,
    RELATION,
    SAFETY_MARGIN_S,
    Bots,
    Http,
    Log,
    Quota,
    Redis,
    Restart,
    Settings,
    Steam,
)
from supervisor.settings_sources import (
    Layer,
    read_environment,
    read_file,
    read_seed_environment,
    unread_redis_variables,
)

__all__ = [
    "DEFAULT",
    "DEFAULT_FILE",
    "LIVE_DIRECTORY_URL",
    "LOGOFF_S",
    "SAFETY_MARGIN_S",
    "Bots",
    "ConfigError",
    "Http",
    "Loaded",
    "Log",
    "Quota",
    "Redis",
    "Restart",
    "Settings",
    "Steam",
    "load",
    "public_value",
]

DEFAULT: Final = "default"
DEFAULT_FILE: Final = Path("config.toml")
_READABLE_FILES: Final = ("ca_file", "universe_key_file")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that can be used, and how they came about."""

    settings: Settings
    file: Path | None  # the file that was read, if any
    sources: Mapping[str, str]  # dotted key -> "default", the file, or the variable
    # Dotted key -> raw value, overridden or not; it may be a secret.
    in_file: Mapping[str, object] = field(default_factory=dict, repr=False)
    is_sandboxed: bool = False
    unread: tuple[str, ...] = ()  # variables that name a Redis, while no setting does

    def again(self) -> Loaded:
        """Read and check the same sources once more; a file that was read must still be there.

        Raises:
            ConfigError: as `load`.
        """
        return load(self.file, sandbox=self.is_sandboxed)

    def notes(self) -> list[str]:
        """Return one sentence about each variable in `unread`."""
        return [
            f"{name} is set, but not read: set REDISTOGO_URL or redis.url to use that server"
            for name in self.unread
        ]

    def rows(self) -> list[tuple[str, str, Any, str]]:
        """Return (section, key, value fit for showing, source) in the model's order."""
        return [
            (
                section,
                key,
                public_value(getattr(getattr(self.settings, section), key)),
                self.sources.get(f"{section}.{key}", DEFAULT),
            )
            for section, key, _ in fields()
        ]


def load(path: Path | None = None, *, sandbox: bool = False) -> Loaded:
    """Read, merge and check the settings.

    Args:
        path: the file to read; None means ./config.toml if there is one.
        sandbox: put them on a simulated network of our own, whatever network they name.

    Raises:
        ConfigError: with one line that says where the mistake is.
    """
    file = path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    from_file = read_file(file) if file else Layer({}, {})
    _check_file_alone(from_file, str(file))
    layers = (from_file, read_environment(), read_seed_environment())
    sources = {key: name for layer in layers for key, name in layer.sources.items()}
    settings = _validated(_merged(layers), sources, fallback=str(file or "environment"))
    _check_readable(settings, sources)
    _check_redis_url(settings, sources)
    return Loaded(
        settings.in_sandbox() if sandbox else settings,
        file,
        MappingProxyType(sources),
        in_file=MappingProxyType(_flat(from_file.values)),
        is_sandboxed=sandbox,
        unread=() if "redis.url" in sources else unread_redis_variables(),
    )


def public_value(value: object) -> str | int | float | list[str]:
    """Return a setting's value without secrets, as TOML would write it ("" for none)."""
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return without_password(value.get_secret_value())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float) else str(value)


def _merged(layers: Iterable[Layer]) -> dict[str, Any]:
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, keys in layer.values.items():
            merged[section] = merged.get(section, {}) | keys
    return merged


def _flat(values: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    return {
        f"{section}.{key}": value for section, keys in values.items() for key, value in keys.items()
    }


def _check_file_alone(layer: Layer, name: str) -> None:
    """Refuse wrong types in the file, where the text "5" is no number (in a variable it is).

    Relations wait: a variable may still set the other side.
    """
    try:
        Settings.model_validate(layer.values)
    except ValidationError as exc:
        for error in exc.errors():
            if error["type"] != RELATION:
                raise from_pydantic(error, layer.sources, name) from None


def _validated(values: dict[str, Any], sources: Mapping[str, str], fallback: str) -> Settings:
    try:
        return Settings.model_validate(values, strict=False)
    except ValidationError as exc:
        # `from None`: pydantic's own text repeats the values, and one of them may be a secret.
        raise from_pydantic(exc.errors()[0], sources, fallback) from None


def _check_redis_url(settings: Settings, sources: Mapping[str, str]) -> None:
    if settings.redis.is_embedded:
        return
    from actors.redis_client import bad_url  # noqa: PLC0415 - heavy, and only for a server elsewhere

    if problem := bad_url(settings.redis.url.get_secret_value()):
        dotted = "redis.url"
        raise ConfigError(sources[dotted], f"{dotted} {problem}", key=dotted)


def _check_readable(settings: Settings, sources: Mapping[str, str]) -> None:
    for key in _READABLE_FILES:
        path: Path | None = getattr(settings.steam, key)
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as exc:
            dotted = f"steam.{key}"
            problem = f'{dotted} ("{path}") cannot be read: {exc.strerror}'
            raise ConfigError(sources[dotted], problem, key=dotted) from exc
