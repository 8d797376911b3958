"""Loads the settings from the file and the environment, with the source of each value.

Sources by rising precedence: the defaults, config.toml, ``BOTAPI_SECTION__KEY``, and REDISTOGO_URL and
PORT, because a hosting platform connects only to the port that it assigns. A variable that starts with
BOTAPI_ and names no setting is an error. No other module reads settings from the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from supervisor.config.errors import ConfigError, from_pydantic, nearest, without_password
from supervisor.config.model import RELATION, Settings, fields

PREFIX: Final = "BOTAPI_"

# The variables of the original BotAPI, still set by its scripts and by hosting platforms.
SEED_VARIABLES: Final = {"REDISTOGO_URL": ("redis", "url"), "PORT": ("http", "port")}

# Variables with the address of a Redis on hosting platforms. They are not read: the variable of another
# program would move the accounts to another server.
OTHER_REDIS_VARIABLES: Final = ("REDIS_URL", "REDIS_TLS_URL", "REDISCLOUD_URL", "VALKEY_URL")

# Variables with the prefix that are no settings: options of the command, the encryption key, test data.
OTHER_VARIABLES: Final = frozenset(
    {
        "BOTAPI_CONFIG",
        "BOTAPI_URL",
        "BOTAPI_API_KEY",
        "BOTAPI_API_KEY_FILE",
        "BOTAPI_REPLAY_MIRROR",
        "BOTAPI_SECRET_KEY",
        "BOTAPI_SECRET_KEY_FILE",
        "BOTAPI_REAL_MATCHES",
    }
)

# Kubernetes gives every pod the addresses of a Service named "botapi" in variables like these
# (kubernetes.io, "Service: environment variables").
_SERVICE_LINK: Final = re.compile(
    r"BOTAPI_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_URL: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one source."""

    values: dict[str, Any]  # section -> key -> raw value; of an invalid file, its content
    sources: dict[str, str]  # dotted key -> file or variable


class _Names(Settings, BaseSettings):
    """Names the variables for pydantic-settings; never instantiated."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


def read_file(path: Path) -> Layer:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    name = str(path)
    if not path.exists():
        raise ConfigError(name, "there is no such file")
    if not path.is_file():
        raise ConfigError(name, "is not a file")
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))  # an editor may write a BOM
    except OSError as exc:
        raise ConfigError(name, f"cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(name, "is not UTF-8 text") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(name, f"is not valid TOML: {exc}") from exc
    return Layer(values, dict.fromkeys(_flat(values), name))


def read_environment() -> Layer:
    """Read ``BOTAPI_SECTION__KEY`` variables; the values are texts.

    Raises:
        ConfigError: a variable with the prefix names no setting.
    """
    known = {_variable(section, key): f"{section}.{key}" for section, key, _ in fields()}
    for name, value in os.environ.items():
        _refuse_unknown(name, value, known)
    values = EnvSettingsSource(_Names)()
    return Layer(values, {key: _variable(*key.split(".")) for key in _flat(values)})


def read_seed_environment() -> Layer:
    """Read REDISTOGO_URL and PORT; an empty variable counts as not set."""
    found = {name: os.environ[name] for name in SEED_VARIABLES if os.environ.get(name)}
    values: dict[str, Any] = {}
    for name, value in found.items():
        section, key = SEED_VARIABLES[name]
        values.setdefault(section, {})[key] = value
    return Layer(values, {".".join(SEED_VARIABLES[name]): name for name in found})


def _variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}__{key}".upper()


def _refuse_unknown(name: str, value: str, known: Iterable[str]) -> None:
    upper = name.upper()
    if not upper.startswith(PREFIX) or upper in known or upper in OTHER_VARIABLES:
        return
    if _SERVICE_LINK.fullmatch(upper) or _SERVICE_LINK_URL.match(value):
        return
    close = nearest(upper, known)
    hint = f"did you mean {close}?" if close else f"the names are {PREFIX}SECTION__KEY"
    raise ConfigError("environment", f"unknown setting {name}; {hint}")


DEFAULT: Final = "default"
DEFAULT_FILE: Final = Path("config.toml")
_READABLE_FILES: Final = ("ca_file", "universe_key_file")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings and their sources."""

    settings: Settings
    file: Path | None  # the file that was read, if any
    sources: Mapping[str, str]  # dotted key -> "default", the file, or the variable
    # Dotted key -> raw value in the file, overridden or not; may be a secret.
    in_file: Mapping[str, object] = field(default_factory=dict, repr=False)
    is_sandboxed: bool = False
    unread: tuple[str, ...] = ()  # variables that name a Redis, if no setting does

    def notes(self) -> list[str]:
        """Return one sentence about each variable in `unread`."""
        return [
            f"{name} is set, but not read: set REDISTOGO_URL or redis.url to use that server"
            for name in self.unread
        ]

    def rows(self) -> list[tuple[str, str, Any, str]]:
        """Return (section, key, public value, source) in the order of the model."""
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
        path: the file to read; None means ./config.toml if it exists.
        sandbox: replace the network by a private sandbox.

    Raises:
        ConfigError: the settings are invalid.
    """
    file = path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    from_file = read_file(file) if file else Layer({}, {})
    _check_file_alone(from_file, str(file))
    layers = (from_file, read_environment(), read_seed_environment())
    sources = {key: name for layer in layers for key, name in layer.sources.items()}
    settings = _validated(_merged(layers), sources, fallback=str(file or "environment"))
    _check_readable(settings, sources)
    others = () if "redis.url" in sources else OTHER_REDIS_VARIABLES
    return Loaded(
        settings.in_sandbox() if sandbox else settings,
        file,
        MappingProxyType(sources),
        in_file=MappingProxyType(_flat(from_file.values)),
        is_sandboxed=sandbox,
        unread=tuple(name for name in others if os.environ.get(name)),
    )


def public_value(value: object) -> str | int | float | list[str]:
    """Return a value without secrets, as TOML has it ("" for None)."""
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


def _flat(values: Mapping[str, Any]) -> dict[str, object]:
    """Return the values by dotted key; without what is outside of any section."""
    return {
        f"{section}.{key}": value
        for section, keys in values.items()
        if isinstance(keys, dict)
        for key, value in keys.items()
    }


def _check_file_alone(layer: Layer, name: str) -> None:
    """Refuse wrong types in the file, where the text "5" is no number (in a variable it is).

    Cross-field rules are checked later: a variable may set the other field.
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
        # `from None`: pydantic's text repeats the values, and one of them may be a secret.
        raise from_pydantic(exc.errors()[0], sources, fallback) from None


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
