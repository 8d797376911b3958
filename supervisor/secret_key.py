"""BOTAPI_SECRET_KEY, or the file that BOTAPI_SECRET_KEY_FILE names: what seals secrets in Redis.

Taken out of the environment as it is read, so that no process started from here inherits it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from supervisor.settings_errors import ConfigError

VARIABLE: Final = "BOTAPI_SECRET_KEY"
FILE_VARIABLE: Final = "BOTAPI_SECRET_KEY_FILE"
HOW_TO_MAKE: Final = "make one with: openssl rand -base64 32"
WHICH_KEY: Final = (
    "set the key that sealed them; if it is lost, remove the accounts and add them again"
)


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One or more keys as the operator wrote them, newest first; empty for none."""

    text: str = field(repr=False)
    source: str  # the variable it came from

    def refused(self, problem: str) -> ConfigError:
        """Return the error that says that this is no key, without showing it."""
        return ConfigError(self.source, f"{problem}; {HOW_TO_MAKE}")

    def opens_none_of(self, values: int) -> ConfigError:
        """Return the error that says that no sealed value in Redis opens."""
        if self.text.strip():
            problem = f"it opens none of the sealed values in Redis ({values})"
        else:
            problem = f"it is not set, and Redis holds sealed values ({values})"
        return ConfigError(self.source, f"{problem}; {WHICH_KEY}")


def take_secret_key(environ: MutableMapping[str, str]) -> SecretKey:
    """Return what is set, and take it out of `environ`.

    Raises:
        ConfigError: both variables are set, or the file cannot be read.
    """
    text, file = environ.pop(VARIABLE, ""), environ.pop(FILE_VARIABLE, "")
    if text and file:
        raise ConfigError("environment", f"{VARIABLE} and {FILE_VARIABLE} are both set; use one")
    if not file:
        return SecretKey(text, VARIABLE)
    try:
        return SecretKey(Path(file).read_text("utf-8-sig"), FILE_VARIABLE)
    except OSError as error:
        raise ConfigError(FILE_VARIABLE, f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(FILE_VARIABLE, f"{file} is not a text file") from None
