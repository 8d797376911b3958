"""Reads the secret key and the admin token from the environment or from files, or creates the files.

A key is removed from the environment, so that no child process inherits it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from actors.accounts.encryption import Encryption, parse_keys
from actors.http.auth.admin import AdminToken, new_token
from actors.redis.embedded import OTHERS, keep_private
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings

VARIABLE: Final = "BOTAPI_SECRET_KEY"
KEY_SIZE: Final = 32  # bytes, for AES-256
FILE_VARIABLE: Final = "BOTAPI_SECRET_KEY_FILE"
HOW_TO_MAKE: Final = "make one with: openssl rand -base64 32"
WHICH_KEY: Final = (
    "set the key that sealed them; if it is lost, remove the accounts and add them again"
)


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One or more keys as the operator wrote them, newest first; empty: none."""

    text: str = field(repr=False)
    source: str  # the variable that it was read from
    own_file: Path | None = None  # the service's own key file, if the key is in it
    is_new: bool = False  # the file is new

    def encryption(self) -> Encryption:
        """Return the encryption with these keys.

        Raises:
            ConfigError: one is invalid; the error does not show it.
        """
        try:
            return Encryption(parse_keys(self.text))
        except ValueError as error:
            if self.own_file is None:
                raise ConfigError(self.source, f"{error}; {HOW_TO_MAKE}") from None
            problem = f"{self.own_file}: {error}; put the file back from the backup"
            raise ConfigError("", problem) from None

    def opens_none_of(self, values: int) -> ConfigError:
        """Return the error of a key that opens no encrypted value in Redis."""
        if self.own_file is not None:
            problem = (
                f"it is not set, and the key in {self.own_file} opens none of the sealed values "
                f"in Redis ({values})"
            )
        elif self.text.strip():
            problem = f"it opens none of the sealed values in Redis ({values})"
        else:
            problem = f"it is not set, and Redis holds sealed values ({values})"
        return ConfigError(self.source, f"{problem}; {WHICH_KEY}")


def take_secret_key(
    environ: MutableMapping[str, str], own_file: Path | None = None, *, may_make: bool = True
) -> SecretKey:
    """Remove the key from `environ` and return it; without one return the key in `own_file`.

    If both exist, the key of the environment encrypts, and both decrypt.

    Args:
        environ: the environment.
        own_file: the service's own key file; None: there is none.
        may_make: whether a missing key file is created if no key is set.

    Raises:
        ConfigError: both variables are set, or a file cannot be used.
    """
    text, file = environ.pop(VARIABLE, ""), environ.pop(FILE_VARIABLE, "")
    if text and file:
        raise ConfigError("environment", f"{VARIABLE} and {FILE_VARIABLE} are both set; use one")
    if not file:
        if not text.strip() and own_file is not None and (may_make or own_file.exists()):
            return _own_key(own_file)
        return _with_own(SecretKey(text, VARIABLE), own_file)
    try:
        return _with_own(SecretKey(Path(file).read_text("utf-8-sig"), FILE_VARIABLE), own_file)
    except OSError as error:
        raise ConfigError(FILE_VARIABLE, f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(FILE_VARIABLE, f"{file} is not a text file") from None


def _with_own(given: SecretKey, own_file: Path | None) -> SecretKey:
    """Return the given key followed by the service's own, which decrypts older values."""
    if own_file is None or not given.text.strip() or not own_file.exists():
        return given
    own = _own_key(own_file)
    own.encryption()  # raises here, so that the error names this file
    return replace(given, text=f"{given.text} {own.text}")


def _own_key(file: Path) -> SecretKey:
    try:
        made = write_once(file, base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode() + "\n")
        keep_private(file)
        return SecretKey(file.read_text("utf-8-sig"), VARIABLE, file, is_new=made)
    except OSError as error:
        raise ConfigError("", f"{file} cannot be used: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("", f"{file} is not a text file; put it back from the backup") from None


KEY: Final = "http.admin_token_file"


def admin_token(settings: Settings, *, log: FilteringBoundLogger) -> AdminToken | None:
    """Return the token in the file that the settings name, or in the service's own file.

    The own file is created if it is missing. None, for no admin API, if it cannot be read or written.

    Raises:
        ConfigError: the file cannot be read, or holds no usable token.
    """
    named, file = settings.http.admin_token_file, settings.token_file
    try:
        if named is None:
            if write_once(file, new_token() + "\n"):
                log.info("admin_token_made", file=str(file))
            keep_private(file)
        token = AdminToken(file.read_text("utf-8-sig"))
        if file.stat().st_mode & OTHERS:
            reason = "others may read it: chmod 600"
            log.warning("admin_token_exposed", file=str(file), reason=reason)
    except OSError as error:
        problem = f"{error.filename or file} cannot be used: {error.strerror}"
        if named is None:
            log.warning("admin_api_off", reason=f"{KEY} is not set, and {problem}")
            return None
        raise ConfigError(KEY, problem) from None
    except ValueError as error:
        remedy = "make one with: openssl rand -hex 24" if named else f"delete {file}"
        if isinstance(error, UnicodeDecodeError):
            error = ValueError("it is not a text file")
        raise ConfigError(KEY if named else "", f"{file}: {error}; {remedy}") from None
    return token


def write_once(file: Path, text: str) -> bool:
    """Write `file` and its directory, unless it has content; return whether it was written.

    The file is written completely or not at all. Of two concurrent processes one writes.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if _holds_something(file):
        return False
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        with _locked(file.parent) as directory:
            if _holds_something(file):
                return False
            Path(name).replace(file)
            os.fsync(directory)  # the name is on disk before the file is used
    finally:
        Path(name).unlink(missing_ok=True)
    return True


def _holds_something(file: Path) -> bool:
    """Return whether the file has content; earlier versions left empty files on a full disk."""
    try:
        return bool(file.read_bytes().strip())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
