"""Settings: sections, defaults, ranges and cross-field rules.

Plain frozen values. This file knows nothing of files, environment variables or error sentences;
where values come from is settings_sources.py, how a refusal reads is settings_errors.py. The
defaults here and the ones written in config.toml are the same (a test holds them together).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

# An address to listen on everywhere is none to connect to.
LOOPBACK: Final[Mapping[str, str]] = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104 - not bound
    "::": "::1",
    "": "127.0.0.1",
}

LIVE_DIRECTORY_URL: Final = "https://api.steampowered.com"
EMBEDDED: Final = "embedded"

# A bot that must leave gives its logoff this long; Steam answers one within a second or two.
LOGOFF_S: Final = 5.0
# A bot that cannot renew leaves this long, and the logoff, before its lease ends.
SAFETY_MARGIN_S: Final = 3.0
RENEWALS_PER_LEASE: Final = 3  # one may be lost and the next still comes in time

# One in ten seconds per machine is what ArchiSteamFarm allows itself.
LIVE_LOGONS_PER_MINUTE: Final = 6.0

RELATION: Final = "relation"  # the error type of a rule that binds several keys


@dataclass(frozen=True, slots=True)
class Wanted:
    """Annotation: how a refusal describes the value, where type and range do not say enough."""

    text: str
    secret: bool = False  # then the refused value is not repeated


def _redis_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    parts = urlsplit(url)  # raises ValueError on malformed brackets
    network = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
    local = parts.scheme == "unix" and bool(parts.path)
    if not (url == EMBEDDED or network or local):
        raise ValueError(url)
    return value


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if value and not (parts.scheme in {"http", "https"} and parts.hostname):
        raise ValueError(value)
    return value.rstrip("/")


def _none_if_empty(value: object) -> object:
    """TOML has no null: an empty text stands for "not set"."""
    return None if value == "" else value


def _texts(value: object) -> list[str]:
    """Take a list of texts, or one text with commas as variables have it."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(value)
    return [text.strip() for text in texts if text.strip()]


def _networks(value: object) -> object:
    return tuple(str(ip_network(text)) for text in _texts(value))


def _hosts(value: object) -> object:
    return tuple(_host(text) for text in _texts(value))


def _host(text: str) -> str:
    """Return a name or an address as it is compared: in lower case, without brackets and final dot."""
    if ":" in text:
        is_in_brackets = text.startswith("[") and text.endswith("]")
        return str(ip_address(text[1:-1] if is_in_brackets else text))
    if not re.fullmatch(r"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+\.?", text):
        raise ValueError(text)
    return text.lower().removesuffix(".")


Seconds = Annotated[float, Wanted("a number of seconds")]
LooseStrict = Field(strict=False)  # TOML and the environment have texts, not paths
FilePath = Annotated[Path, LooseStrict, Wanted("the path of a file")]
OptionalFile = Annotated[FilePath | None, BeforeValidator(_none_if_empty)]
OptionalUrl = Annotated[
    Annotated[str, AfterValidator(_web_url)] | None,
    BeforeValidator(_none_if_empty),
    Wanted('an http:// or https:// URL, or "" for none'),
]
Networks = Annotated[
    tuple[str, ...],
    BeforeValidator(_networks),
    NoDecode,  # in a variable it is no JSON
    Wanted('a list of addresses or networks without host bits, e.g. ["10.0.0.0/8"]'),
]
Hosts = Annotated[
    tuple[str, ...],
    BeforeValidator(_hosts),
    NoDecode,
    Wanted('a list of host names or addresses without ports, e.g. ["botapi.example"]'),
]
RedisUrl = Annotated[
    SecretStr,
    AfterValidator(_redis_url),
    Wanted('"embedded" or a redis://, rediss:// or unix:// URL', secret=True),
]


class Section(BaseModel):
    """One table of config.toml. Strict: the text "5" is not the number 5."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class Bots(Section):
    """How many accounts to keep logged on, and how hard to use each."""

    count: int = Field(default=5, ge=1, le=1000)
    lease_seconds: Seconds = Field(default=60, ge=1, le=86_400)
    request_timeout: Seconds = Field(default=5, ge=0.1, le=300)
    max_in_flight: int = Field(default=5, ge=1, le=100)
    min_interval: Seconds = Field(default=0.25, ge=0, le=3600)

    @property
    def renew_every_s(self) -> float:
        """Seconds between two renewals of a lease."""
        return self.lease_seconds / RENEWALS_PER_LEASE


class Redis(Section):
    """Where accounts, auth state and budgets are kept."""

    url: RedisUrl = SecretStr(EMBEDDED)
    prefix: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.:{}-]{1,64}$"),
        Wanted("1 to 64 of the characters A-Z a-z 0-9 _ . : { } -"),
    ] = "botapi"
    data_dir: Annotated[Path, LooseStrict, Wanted("the path of a directory")] = Path("data")

    @property
    def is_embedded(self) -> bool:
        """Whether the service starts its own private Valkey."""
        return self.url.get_secret_value() == EMBEDDED


class Steam(Section):
    """Which network the bots log on to, and what they trust there."""

    network: Literal["live", "sandbox"] = "live"
    transport: Literal["websocket", "tcp"] = "websocket"
    directory_url: OptionalUrl = None
    ca_file: OptionalFile = None
    universe_key_file: OptionalFile = None
    replay_mirror: OptionalUrl = None

    @property
    def effective_directory_url(self) -> str | None:
        """Base URL of the directory; None means a private sandbox, which names its own."""
        if self.directory_url is None and self.network == "live":
            return LIVE_DIRECTORY_URL
        return self.directory_url


class Logon(Section):
    """How politely to log on, per egress IP and across all containers."""

    per_minute: Annotated[
        Annotated[float, Field(ge=0, le=600)] | Literal["auto"],
        Wanted('a number from 0 to 600, or "auto"'),
    ] = "auto"
    burst: int = Field(default=5, ge=1, le=1000)
    rate_limit_pause: Seconds = Field(default=2100, ge=1, le=86_400)


class Quota(Section):
    """How many match requests Valve answers before it falls silent."""

    per_account: int = Field(default=90, ge=1, le=1_000_000)
    per_ip: int = Field(default=450, ge=1, le=100_000_000)
    window: Literal["rolling-24h", "utc-day"] = "rolling-24h"


class Restart(Section):
    """How a failed bot comes back."""

    backoff_min: Seconds = Field(default=1, ge=0.01, le=3600)
    backoff_max: Seconds = Field(default=60, ge=0.01, le=86_400)
    stable_after: Seconds = Field(default=60, ge=0, le=86_400)
    intensity: int = Field(default=10, ge=1, le=1000)
    period: Seconds = Field(default=600, ge=0.1, le=604_800)

    def ceilings(self) -> Iterator[float]:
        """Yield the longest wait before each restart in turn, without end."""
        ceiling = self.backoff_min
        while True:
            yield min(ceiling, self.backoff_max)
            ceiling = min(ceiling * 2, self.backoff_max)


class Http(Section):
    """Where the API listens, whom it serves and how long a request may take."""

    host: Annotated[str, Field(min_length=1), Wanted("an address to listen on")] = "127.0.0.1"
    port: int = Field(default=5000, ge=0, le=65_535)
    queue: int = Field(default=256, ge=1, le=100_000)
    deadline: Seconds = Field(default=15, ge=0.1, le=3600)
    connections: int = Field(default=1000, ge=1, le=100_000)
    api_keys_file: OptionalFile = None
    per_minute: Annotated[float, Field(ge=0, le=1_000_000)] = 0
    trusted_proxies: Networks = ()
    allowed_hosts: Hosts = ()
    admin_token_file: OptionalFile = None


class Cache(Section):
    """For how long what the Game Coordinator said is used again."""

    ttl: Seconds = Field(default=604_800, ge=1, le=31_536_000)
    recent_ttl: Seconds = Field(default=120, ge=1, le=86_400)
    negative_ttl: Seconds = Field(default=300, ge=1, le=86_400)
    memory_entries: int = Field(default=1000, ge=0, le=1_000_000)


class Log(Section):
    """What is logged, and how it looks."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Metrics(Section):
    """What /metrics shows."""

    accounts: bool = False


class Settings(BaseModel):
    """Everything the operator decides, validated; hand parts of it on, never the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bots: Bots = Bots()
    redis: Redis = Redis()
    steam: Steam = Steam()
    logon: Logon = Logon()
    quota: Quota = Quota()
    restart: Restart = Restart()
    http: Http = Http()
    cache: Cache = Cache()
    log: Log = Log()
    metrics: Metrics = Metrics()

    def in_sandbox(self) -> Self:
        """Return the same settings for a sandbox of our own, whatever network they name."""
        steam = Steam(network="sandbox", transport=self.steam.transport)
        return self.model_copy(update={"steam": steam})

    @property
    def own_key_file(self) -> Path | None:
        """Where a service with a private Valkey keeps its sealing key when none is given.

        None with an outside Redis: two instances with a key of their own each would lock each other out.
        """
        return self.redis.data_dir / "sealing-key" if self.redis.is_embedded else None

    @property
    def own_token_file(self) -> Path:
        """Where a service that names no admin token keeps the one that it makes."""
        return self.redis.data_dir / "admin-token"

    @property
    def logons_per_minute(self) -> float:
        """Token log-ons per minute; 0 for no pacing."""
        if self.logon.per_minute != "auto":
            return self.logon.per_minute
        return 0.0 if self.steam.network == "sandbox" else LIVE_LOGONS_PER_MINUTE

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        for check in RELATIONS:
            broken = check(self)
            if broken is not None:
                raise PydanticCustomError(
                    RELATION, "{problem}", {"problem": broken.problem, "keys": broken.keys}
                )
        return self


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule between several keys that these settings do not keep."""

    keys: tuple[str, ...]  # dotted
    problem: str  # names every key with its value


def _lease_outlives_renewal(settings: Settings) -> Broken | None:
    """After the last renewal that worked, one more try, the logoff and the margin must fit."""
    lease, renewal = settings.bots.lease_seconds, settings.bots.renew_every_s
    reserve = LOGOFF_S + SAFETY_MARGIN_S
    if lease > renewal + reserve:
        return None
    shortest = reserve * RENEWALS_PER_LEASE / (RENEWALS_PER_LEASE - 1)
    return Broken(
        ("bots.lease_seconds",),
        f"bots.lease_seconds ({lease:g}) must be more than {shortest:g}: of it, a renewal takes "
        f"a third ({renewal:g}), and {LOGOFF_S:g} for the logoff and {SAFETY_MARGIN_S:g} as a "
        "safety margin must be left",
    )


def _request_fits_deadline(settings: Settings) -> Broken | None:
    timeout, deadline = settings.bots.request_timeout, settings.http.deadline
    if timeout <= deadline:
        return None
    return Broken(
        ("bots.request_timeout", "http.deadline"),
        f"bots.request_timeout ({timeout:g}) must be at most http.deadline ({deadline:g})",
    )


def _backoff_is_a_range(settings: Settings) -> Broken | None:
    low, high = settings.restart.backoff_min, settings.restart.backoff_max
    if low <= high:
        return None
    return Broken(
        ("restart.backoff_min", "restart.backoff_max"),
        f"restart.backoff_min ({low:g}) must be at most restart.backoff_max ({high:g})",
    )


def _intensity_is_reachable(settings: Settings) -> Broken | None:
    """A limit that the backoff never lets happen would never park a bot."""
    restart = settings.restart
    slowest = sum(islice(restart.ceilings(), restart.intensity))
    if slowest < restart.period:
        return None
    return Broken(
        ("restart.intensity", "restart.period", "restart.backoff_min", "restart.backoff_max"),
        f"restart.period ({restart.period:g}) must be more than {slowest:g}: that long "
        f"{restart.intensity} restarts (restart.intensity) can take by restart.backoff_min "
        f"({restart.backoff_min:g}) and restart.backoff_max ({restart.backoff_max:g})",
    )


def _key_needs_its_network(settings: Settings) -> Broken | None:
    """Another universe's key would only keep the bots out of the live one."""
    steam = settings.steam
    if steam.universe_key_file is None or steam.directory_url is not None:
        return None
    return Broken(
        ("steam.universe_key_file", "steam.directory_url"),
        f'steam.universe_key_file ("{steam.universe_key_file}") needs steam.directory_url ("") '
        "to name the network that the key belongs to",
    )


RELATIONS: Final = (
    _lease_outlives_renewal,
    _request_fits_deadline,
    _backoff_is_a_range,
    _intensity_is_reachable,
    _key_needs_its_network,
)
