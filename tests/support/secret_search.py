"""Secrets to look for, and recorders of everything that users and programs can see.

There are accounts of every kind; each secret has a character that is escaped in URLs.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psutil
import redis as sync_redis

from actors.accounts.credentials import AUTH_STATE, auth_from_json
from actors.accounts.encryption import Encryption, parse_keys
from actors.errors import CannotDecrypt
from bench.service_process import ServiceProcess
from bench.valkey import own_valkey

KEY: Final = base64.b64encode(secrets.token_bytes(32)).decode()
REDIS_PASSWORD: Final = "r3dis-P4ss-xyzzy"
ADMIN_TOKEN: Final = "4dmin-T0ken-Bettong-1234567"
CODE: Final = "XQ7ZK"
POSTED_CODE: Final = "YW8JD"
SHARED_SECRET: Final = base64.b64encode(b"twenty secret bytes!").decode()
DAY_S: Final = 86_400
ACCOUNTS: Final[list[dict[str, Any]]] = [
    # Its token is renewed as soon as it logs on.
    {"name": "young", "password": "pl41n/Quokka+99", "token_lifetime_s": 10 * DAY_S},
    {"name": "totp", "password": "t0tp=Wombat&77", "shared_secret": SHARED_SECRET},
    {"name": "mailed", "password": "m4il?Numbat#55", "email_code": CODE},
    {"name": "posted", "password": "p0st|Dunnart~11", "email_code": POSTED_CODE},
    {"name": "refused", "password": "the right one, never typed"},
]
WRONG_PASSWORD: Final = "wr0ng Bilby%33"
TYPED: Final = {one["name"]: one["password"] for one in ACCOUNTS} | {"refused": WRONG_PASSWORD}
LEAST_PART: Final = 8  # characters of the shortest part of a token to look for
WEB_TOKEN: Final = re.compile(r"eyJ[\w-]{4,}\.[\w-]+")
SEALED: Final = re.compile(r"sealed:v1:[0-9a-f]+:[A-Za-z0-9+/=]+")
WAIT_S: Final = 30.0


# -- secrets ------------------------------------------------------------------------------------


def written(secret: str) -> set[str]:
    """Return the encodings of a secret."""
    forms = {
        secret,
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        secret.encode().hex(),
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    }
    parts = secret.split(".") if secret.startswith("eyJ") else []
    return forms | {part for part in parts if len(part) >= LEAST_PART}


def leaks(text: str, known: set[str]) -> set[str]:
    """Return the secrets in `text`, and every web token."""
    found = {form for secret in known for form in written(secret) if form in text}
    return found | set(WEB_TOKEN.findall(text))


TYPED_SECRETS: Final = {
    *TYPED.values(),
    SHARED_SECRET,
    KEY,
    REDIS_PASSWORD,
    ADMIN_TOKEN,
    CODE,
    POSTED_CODE,
}


# -- recorders ----------------------------------------------------------------------------------


class Monitor:
    """Records all commands that a Redis receives; a context manager."""

    def __init__(self, port: int, password: str = "") -> None:
        self._address = ("127.0.0.1", port)
        self._password = password
        self._seen = bytearray()

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._address)
        if self._password:
            self._socket.sendall(f"AUTH {self._password}\r\n".encode())
            assert self._socket.recv(64) == b"+OK\r\n"
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(64) == b"+OK\r\n"
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    @property
    def text(self) -> str:
        """The commands so far."""
        return self._seen.decode(errors="replace")

    def _read(self) -> None:
        while chunk := self._socket.recv(1 << 16):
            self._seen += chunk


class Service(ServiceProcess):
    """A service process that can also parse the console format of the log."""

    def events_in(self, log: str, name: str) -> Iterator[dict[str, Any]]:
        yield from super().events_in(log, name)
        for line in log.splitlines():
            if re.search(rf"\] {name}\b", line):
                yield dict(re.findall(r"(\w+)=(\S+)", line))


@dataclass
class Recording:
    """Recorded texts of a run by source, and the tokens and codes that were issued."""

    seen: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)

    def add(self, where: str, text: str) -> None:
        self.seen[where] = self.seen.get(where, "") + text

    @property
    def secrets(self) -> set[str]:
        return TYPED_SECRETS | self.tokens | self.codes


def command_lines(pid: int) -> str:
    """Return the arguments of a process and of its descendants."""
    root = psutil.Process(pid)
    # They are available shortly after the exec.
    wait_until(lambda: bool(root.cmdline()), "a process has no arguments")
    return "\n".join(" ".join(one.cmdline()) for one in [root, *root.children(recursive=True)])


def tokens_in(monitored: str) -> set[str]:
    """Decrypt every stored auth state; return all tokens and guard data of the service."""
    encryption, found = Encryption(parse_keys(KEY)), set[str]()
    for sealed in set(SEALED.findall(monitored)):
        for one in ACCOUNTS:
            try:
                auth = auth_from_json(encryption.decrypt(AUTH_STATE, one["name"], sealed))
            except CannotDecrypt:  # a password, or the auth state of another account
                continue
            if auth is not None:
                found |= {text for text in (auth.refresh_token, auth.guard_data) if text}
    return found


def wait_until(happened: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


@contextmanager
def guarded_valkey() -> Iterator[int]:
    """Run a Valkey with a password; return its port."""
    with own_valkey() as valkey, sync_redis.Redis(port=valkey.port) as client:
        client.config_set("requirepass", REDIS_PASSWORD)
        try:
            yield valkey.port
        finally:
            client.config_set("requirepass", "")


class Operator:
    """Runs commands, and records their output and arguments."""

    def __init__(self, config: Path, recording: Recording) -> None:
        self._config = config
        self._recording = recording

    def run(self, *words: str, typed: str = "") -> str:
        command = [sys.executable, "-m", "supervisor", *words, "--config", str(self._config)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "BOTAPI_SECRET_KEY": KEY},
        ) as process:
            self._recording.add("arguments", command_lines(process.pid) + "\n")
            out, err = process.communicate(typed, timeout=WAIT_S)
        self._recording.add("commands", f"$ {words}\n{out}{err}")
        assert process.returncode == 0, err
        return out
