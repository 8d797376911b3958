"""Settings: sections, defaults, ranges and cross-field rules, as frozen values.

A test compares these defaults with those in config.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
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
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from supervisor.child import Backoff

# The address to connect to, for addresses that mean all interfaces.
LOOPBACK: Final[Mapping[str, str]] = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104 - not bound
    "::": "::1",
    "": "127.0.0.1",
}

LIVE_DIRECTORY_URL: Final = "https://api.steampowered.com"
EMBEDDED: Final = "embedded"

# The time limit of a logoff; Steam usually answers within two seconds.
LOGOFF_S: Final = 5.0
# A bot that cannot renew its lease begins to log off this long, plus LOGOFF_S, before the lease ends.
SAFETY_MARGIN_S: Final = 3.0
RENEWALS_PER_LEASE: Final = 3  # so that one may fail

# As ArchiSteamFarm: one per ten seconds and machine.
LIVE_LOGONS_PER_MINUTE: Final = 6.0

RELATION: Final = "relation"  # the error type of a cross-field rule


@dataclass(frozen=True, slots=True)
class Wanted:
    """Annotation: describes the value in errors, where type and range are not sufficient."""

    text: str
    secret: bool = False  # errors do not repeat the refused value


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
    """Return None for an empty text, which means "not set": TOML has no null."""
    return None if value == "" else value


def _texts(value: object) -> list[str]:
    """Return the texts of a list, or of one text with commas (in a variable)."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(value)
    return [text.strip() for text in texts if text.strip()]


def _networks(value: object) -> object:
    return tuple(str(ip_network(text)) for text in _texts(value))


def _hosts(value: object) -> object:
    return tuple(_host(text) for text in _texts(value))


def _host(text: str) -> str:
    """Return a host name or address in lower case, without brackets and final dot."""
    if ":" in text:
        is_in_brackets = text.startswith("[") and text.endswith("]")
        return str(ip_address(text[1:-1] if is_in_brackets else text))
    if not re.fullmatch(r"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)*+\.?", text):
        raise ValueError(text)
    return text.lower().removesuffix(".")


Seconds = Annotated[float, Wanted("a number of seconds")]
LooseStrict = Field(strict=False)  # TOML and environment variables have texts, not paths
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
    NoDecode,  # a variable has a text with commas, not JSON
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
    """Base class of the sections of config.toml. Strict: the text "5" is not the number 5."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True
    )


class Bots(Section):
    """Number of bots, and the limits of each."""

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
    """The store of accounts, auth state and budgets."""

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
    """The network that the bots log on to, and its certificates."""

    network: Literal["live", "sandbox"] = "live"
    transport: Literal["websocket", "tcp"] = "websocket"
    directory_url: OptionalUrl = None
    ca_file: OptionalFile = None
    universe_key_file: OptionalFile = None
    replay_mirror: OptionalUrl = None

    @property
    def effective_directory_url(self) -> str | None:
        """Base URL of the directory; None means a private sandbox."""
        if self.directory_url is None and self.network == "live":
            return LIVE_DIRECTORY_URL
        return self.directory_url


class Logon(Section):
    """Log-on rate per egress IP, across all containers."""

    per_minute: Annotated[
        Annotated[float, Field(ge=0, le=600)] | Literal["auto"],
        Wanted('a number from 0 to 600, or "auto"'),
    ] = "auto"
    burst: int = Field(default=5, ge=1, le=1000)
    rate_limit_pause: Seconds = Field(default=2100, ge=1, le=86_400)


class Quota(Section):
    """Match requests per account and per egress IP."""

    per_account: int = Field(default=90, ge=1, le=1_000_000)
    per_ip: int = Field(default=450, ge=1, le=100_000_000)
    window: Literal["rolling-24h", "utc-day"] = "rolling-24h"


class RestartSection(Section):
    """How a failed bot restarts."""

    backoff_min: Seconds = Field(default=1, ge=0.01, le=3600)
    backoff_max: Seconds = Field(default=60, ge=0.01, le=86_400)
    stable_after: Seconds = Field(default=60, ge=0, le=86_400)
    intensity: int = Field(default=10, ge=1, le=1000)
    period: Seconds = Field(default=600, ge=0.1, le=604_800)


class Http(Section):
    """Address, limits and access rules of the API."""

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
    """How long answers of the Game Coordinator are reused."""

    ttl: Seconds = Field(default=604_800, ge=1, le=31_536_000)
    recent_ttl: Seconds = Field(default=120, ge=1, le=86_400)
    negative_ttl: Seconds = Field(default=300, ge=1, le=86_400)
    memory_entries: int = Field(default=1000, ge=0, le=1_000_000)


class Log(Section):
    """Level and format of the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class MetricsSection(Section):
    """Content of /metrics."""

    accounts: bool = False


class Settings(BaseModel):
    """All settings, validated. Components receive only the part that they need."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bots: Bots = Bots()
    redis: Redis = Redis()
    steam: Steam = Steam()
    logon: Logon = Logon()
    quota: Quota = Quota()
    restart: RestartSection = RestartSection()
    http: Http = Http()
    cache: Cache = Cache()
    log: Log = Log()
    metrics: MetricsSection = MetricsSection()

    def in_sandbox(self) -> Self:
        """Return the same settings with a private sandbox as the network."""
        steam = Steam(network="sandbox", transport=self.steam.transport)
        return self.model_copy(update={"steam": steam})

    @property
    def own_key_file(self) -> Path | None:
        """The file for the generated encryption key of a service with a private Valkey.

        None with an external Redis: instances with different keys could not read each other's secrets.
        """
        return self.redis.data_dir / "sealing-key" if self.redis.is_embedded else None

    @property
    def token_file(self) -> Path:
        """The file with the admin token; the service generates it if the settings name none."""
        return self.http.admin_token_file or self.redis.data_dir / "admin-token"

    @property
    def logons_per_minute(self) -> float:
        """Token log-ons per minute; 0 means no limit."""
        if self.logon.per_minute != "auto":
            return self.logon.per_minute
        return 0.0 if self.steam.network == "sandbox" else LIVE_LOGONS_PER_MINUTE

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        if broken := _broken_relation(self):
            keys, problem = broken
            raise PydanticCustomError(RELATION, "{problem}", {"problem": problem, "keys": keys})
        return self


def _broken_relation(settings: Settings) -> tuple[tuple[str, ...], str] | None:
    """Return (dotted keys, problem with their values) of the first violated rule between settings."""
    bots, steam, restart = settings.bots, settings.steam, settings.restart
    # After the last successful renewal, one more attempt, the logoff and the margin must fit.
    lease, renewal, reserve = bots.lease_seconds, bots.renew_every_s, LOGOFF_S + SAFETY_MARGIN_S
    if lease <= renewal + reserve:
        shortest = reserve * RENEWALS_PER_LEASE / (RENEWALS_PER_LEASE - 1)
        return ("bots.lease_seconds",), (
            f"bots.lease_seconds ({lease:g}) must be more than {shortest:g}: it is renewed after "
            f"a third ({renewal:g}), and then {LOGOFF_S:g} for the logoff and {SAFETY_MARGIN_S:g} as "
            "a safety margin must remain"
        )
    timeout, deadline = bots.request_timeout, settings.http.deadline
    if timeout > deadline:
        return ("bots.request_timeout", "http.deadline"), (
            f"bots.request_timeout ({timeout:g}) must be at most http.deadline ({deadline:g})"
        )
    low, high = restart.backoff_min, restart.backoff_max
    if low > high:
        return ("restart.backoff_min", "restart.backoff_max"), (
            f"restart.backoff_min ({low:g}) must be at most restart.backoff_max ({high:g})"
        )
    # With an intensity that the backoff makes unreachable, no bot would ever be parked.
    slowest = Backoff(low, high, restart.stable_after).longest_total(restart.intensity)
    if slowest >= restart.period:
        keys = ("intensity", "period", "backoff_min", "backoff_max")
        return tuple(f"restart.{key}" for key in keys), (
            f"restart.period ({restart.period:g}) must be more than {slowest:g}, the longest time "
            f"that {restart.intensity} restarts (restart.intensity) can take with "
            f"restart.backoff_min ({low:g}) and restart.backoff_max ({high:g})"
        )
    # With the key of another universe no bot could log on to the live network.
    if steam.universe_key_file is not None and steam.directory_url is None:
        return ("steam.universe_key_file", "steam.directory_url"), (
            f'steam.universe_key_file ("{steam.universe_key_file}") needs steam.directory_url ("") '
            "to name the network of the key"
        )
    return None


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield (section, key, field) of every setting, in the order of the model."""
    for section, model in sections().items():
        for key, field in model.model_fields.items():
            yield section, key, field


def sections() -> dict[str, type[BaseModel]]:
    """Return the model of each section by its name, in the order of the model."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
