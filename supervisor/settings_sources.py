"""Where settings come from: config.toml, `BOTAPI_SECTION__KEY`, and the seed's own variables.

Each source is read into a Layer: what it sets, and the name under which a person knows it.
Checking values is not done here, with one exception: an environment variable that starts with
BOTAPI_ and means nothing is refused, because a misspelt one would otherwise be silently ignored.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SettingsConfigDict,
)

from supervisor.settings_errors import ConfigError, fields, nearest
from supervisor.settings_model import Settings

PREFIX: Final = "BOTAPI_"

# The variables of the original BotAPI, still set by its scripts and by hosting platforms.
SEED_VARIABLES: Final = {"REDISTOGO_URL": ("redis", "url"), "PORT": ("http", "port")}

# What hosting platforms call the address of a Redis. They are not read: a variable of another program
# would move the accounts to another server.
OTHER_REDIS_VARIABLES: Final = ("REDIS_URL", "REDIS_TLS_URL", "REDISCLOUD_URL", "VALKEY_URL")

# Ours by prefix, but no settings: what the command reads itself, the key that seals, the tests' data.
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
# (kubernetes.io, "Service: environment variables"); they are no mistake of the operator.
_SERVICE_LINK: Final = re.compile(
    r"BOTAPI_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_URL: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source sets."""

    values: dict[str, Any]  # section -> key -> raw value; for a bad file, whatever stands there
    sources: dict[str, str]  # dotted key -> the name of what sets it


class _Names(Settings, BaseSettings):
    """Tells pydantic-settings which variables to look for; never instantiated."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


def read_file(path: Path) -> Layer:
    """Read a TOML file.

    Raises:
        ConfigError: it is missing, unreadable or not TOML.
    """
    name = str(path)
    if not path.exists():
        raise ConfigError(name, "there is no such file")
    if not path.is_file():
        raise ConfigError(name, "is not a file")
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))  # an editor may begin with a BOM
    except OSError as exc:
        raise ConfigError(name, f"cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(name, "is not UTF-8 text") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(name, f"is not valid TOML: {exc}") from exc
    return Layer(values, dict.fromkeys(_dotted(values), name))


def read_environment() -> Layer:
    """Read ``BOTAPI_SECTION__KEY`` variables; values stay texts.

    Raises:
        ConfigError: a variable with our prefix names no setting.
    """
    known = {_variable(section, key): f"{section}.{key}" for section, key, _ in fields()}
    for name, value in os.environ.items():
        _refuse_unknown(name, value, known)
    values = EnvSettingsSource(_Names)()
    return Layer(values, {key: _variable(*key.split(".")) for key in _dotted(values)})


def read_seed_environment() -> Layer:
    """Read REDISTOGO_URL and PORT; an empty one counts as not set."""
    found = {name: os.environ[name] for name in SEED_VARIABLES if os.environ.get(name)}
    values: dict[str, Any] = {}
    for name, value in found.items():
        section, key = SEED_VARIABLES[name]
        values.setdefault(section, {})[key] = value
    return Layer(values, {".".join(SEED_VARIABLES[name]): name for name in found})


def unread_redis_variables() -> tuple[str, ...]:
    """Return the variables that name a Redis for other programs and are set."""
    return tuple(name for name in OTHER_REDIS_VARIABLES if os.environ.get(name))


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


def _dotted(values: dict[str, Any]) -> list[str]:
    return [
        f"{section}.{key}"
        for section, keys in values.items()
        if isinstance(keys, dict)
        for key in keys
    ]
