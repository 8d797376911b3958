"""Settings of a run: loaded, with the Redis URL checked by the Redis client."""

from __future__ import annotations

from pathlib import Path

from supervisor.config import load as config
from supervisor.config.errors import ConfigError
from supervisor.config.load import Loaded


def load(path: Path | None = None, *, sandbox: bool = False) -> Loaded:
    """Load the settings, and check the Redis URL.

    Raises:
        ConfigError: one line that names the mistake.
    """
    loaded = config.load(path, sandbox=sandbox)
    if not loaded.settings.redis.is_embedded:
        from actors.redis.client import bad_url  # noqa: PLC0415 - heavy, and only for a server elsewhere

        if problem := bad_url(loaded.settings.redis.url.get_secret_value()):
            key = "redis.url"
            raise ConfigError(loaded.sources[key], f"{key} {problem}", key=key)
    return loaded
