"""A service in which everything crashes at once, with secrets in every place that errors have."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import redis as sync_redis
from support.secret_search import (
    ACCOUNTS,
    KEY,
    REDIS_PASSWORD,
    SHARED_SECRET,
    WAIT_S,
    WRONG_PASSWORD,
    Monitor,
    Operator,
    Recording,
    Service,
    guarded_valkey,
    leaks,
    tokens_in,
    wait_until,
)

from bench.env import service_settings
from bench.sandbox_process import SandboxProcess
from bench.service_process import toml
from bench.valkey import own_valkey

pytestmark = pytest.mark.integration

# Stands for the `botapi` command; what it breaks, breaks with secrets in every place that errors have.
CRASHING: Final = """
import asyncio, gc, os, threading
from actors.accounts.store import AccountStore
from actors.steam.auth import Authenticator
from actors.steam.connection import Connection
from actors.steam.link import SteamLink
from supervisor.cli.main import main
from supervisor.app.tree import Tree

sealing_key = os.environ["BOTAPI_SECRET_KEY"]
credential_of, beat = AccountStore.credential, Connection.send

async def credential(self, lease):
    found = await credential_of(self, lease)
    if lease.account == "totp":
        raise KeyError({"password": found.password, "shared_secret": found.shared_secret})
    return found

async def log_on(self, account, auth, *, timeout_s):
    held, header = auth.refresh_token, f"Bearer {auth.refresh_token}"
    try:
        raise ValueError(f"the header was {header}", auth)
    except ValueError as cause:
        error = RuntimeError(f"{account} cannot log on with {held}")
        error.add_note(f"the key was {sealing_key}")
        threading.Thread(target=crash, args=(error,), name="crashing").start()
        task = asyncio.get_running_loop().create_task(raising(error))
        del task
        asyncio.get_running_loop().call_soon(crash, RuntimeError(f"a callback had {held}"))
        Dying(held)
        raise ExceptionGroup(f"both had {held}", [error, OSError(f"refresh_token={held!r}")]) from cause

def crash(error):
    raise error

async def raising(error):
    raise RuntimeError("in a task that is never awaited") from error

class Dying:
    def __init__(self, token):
        self.token = token
    def __del__(self):
        raise RuntimeError(f"dying with {self.token}")

def run(self, *args, run=Authenticator.run):
    if self._credential.account != "mailed":
        return run(self, *args)
    password, credential = self._credential.password, self._credential
    raise RuntimeError(f"{credential} failed; password={password!r}, code_secret: '{password}'")

async def close(self, close=Tree.close):
    await close(self)
    raise RuntimeError(f"cannot close {self.config.settings.redis.url.get_secret_value()}")

AccountStore.credential, SteamLink.log_on = credential, log_on
Authenticator.run, Tree.close = run, close
main()
"""
WHAT_CRASHED: Final = (
    "'password': ***, 'shared_secret': ***",
    "cannot log on with ***",
    "the key was ***",
    "the header was Bearer ***",
    "a callback had ***",
    "never awaited",
    "dying with ***",
    "password=***",
    "cannot close redis://***@",
    "service_crashed",
)


@pytest.fixture(scope="module", params=["json", "console"])
def crashed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """One run of a service in which everything breaks."""
    record = Recording()
    folder = tmp_path_factory.mktemp("crashing")
    (folder / "crashing_botapi.py").write_text(CRASHING)
    accounts = [dict(one) for one in ACCOUNTS if one["name"] != "refused"]
    for one in accounts:
        one.pop("email_code", None)
    env = {"BOTAPI_SECRET_KEY": KEY, "PYTHONPATH": str(folder)}
    with guarded_valkey() as port, Monitor(port, REDIS_PASSWORD) as monitor:
        url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0"
        log = {"level": "debug", "format": request.param}
        with SandboxProcess(accounts) as sandbox:
            settings = service_settings(4, sandbox, url, {"log": log})
            config = folder / "config.toml"
            config.write_text(toml(settings))
            rest = [{"shared_secret": SHARED_SECRET, **one} for one in accounts]
            Operator(config, record).run("accounts", "import", "-", typed=json.dumps(rest))
            with Service(settings, env=env, module="crashing_botapi") as service:
                wait_until(lambda: service.log.count("child_crashed") >= 4, "nothing crashes")
                record.add("HTTP", service.get("/status")[1].decode())
                assert service.stop() == 1
                record.add("log", service.log)
        record.tokens = tokens_in(monitor.text)
    return record


def test_no_traceback_has_a_secret(crashed: Recording) -> None:
    assert leaks(crashed.seen["log"], crashed.secrets) == set()


def test_everything_has_crashed(crashed: Recording) -> None:
    log = crashed.seen["log"]
    assert [what for what in WHAT_CRASHED if what not in log] == []
    assert "Traceback (most recent call last)" in log
    assert len(crashed.tokens) >= 1


def test_the_status_has_no_secret_of_a_crash(crashed: Recording) -> None:
    assert any(bot["last_error"] for bot in json.loads(crashed.seen["HTTP"])["fleet"])
    assert leaks(crashed.seen["HTTP"], crashed.secrets) == set()


def test_a_refusal_of_redis_does_not_repeat_the_password(tmp_path: Path) -> None:
    """Without a key the password is an argument of a command, and errors may tell commands."""
    with own_valkey() as valkey, sync_redis.Redis(port=valkey.port) as client:
        client.set("botapi:passwords", "not a hash")
        config = tmp_path / "config.toml"
        config.write_text(toml({"redis": {"url": f"redis://127.0.0.1:{valkey.port}/0"}}))
        said = subprocess.run(
            [sys.executable, "-m", "supervisor", "accounts", "add", "axe", "--config", str(config)],
            input=WRONG_PASSWORD,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert said.returncode == 1
    assert "WRONGTYPE" in said.stderr
    assert leaks(said.stdout + said.stderr, {WRONG_PASSWORD}) == set()
