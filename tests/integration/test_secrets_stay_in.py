"""No password, token, shared secret or key in anything that people and programs get to see.

One run of the service with sealed secrets, on accounts of every kind, is recorded from all sides: what
Redis is told (MONITOR), the log, every HTTP answer, the arguments of every process, what the commands
print. Then everything is searched.

Not searched: /proc/PID/environ, which shows what the operator put there, to the operator's own user and
root alone. BOTAPI_SECRET_KEY_FILE names a file instead.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest
import redis as sync_redis
from support.secret_search import (
    ACCOUNTS,
    ADMIN_TOKEN,
    CODE,
    KEY,
    POSTED_CODE,
    REDIS_PASSWORD,
    SEALED,
    SHARED_SECRET,
    TYPED,
    WAIT_S,
    Monitor,
    Operator,
    Recording,
    Service,
    command_lines,
    guarded_valkey,
    leaks,
    tokens_in,
    wait_until,
)

from bench.env import service_settings
from bench.sandbox_process import SandboxProcess
from bench.service_process import toml

pytestmark = pytest.mark.integration


def add_accounts(keys_env: Operator) -> None:
    """By both ways in; one of those who need a code gets it here, the other while the service runs."""
    keys_env.run("accounts", "add", "young", typed=TYPED["young"] + "\n")
    lines = f"{TYPED['totp']}\n{SHARED_SECRET}\n"
    keys_env.run("accounts", "add", "totp", "--with-shared-secret", typed=lines)
    rest = [{"name": name, "password": TYPED[name]} for name in ("mailed", "posted", "refused")]
    keys_env.run("accounts", "import", "-", typed=json.dumps(rest))
    keys_env.run("accounts", "login", "mailed", typed=f"WRONG\n{CODE}\n")


async def live(service: Service, sandbox: SandboxProcess, recording: Recording) -> None:
    """Let happen what happens in a service's life, above all what goes wrong."""
    service.wait_ready(3)
    await sandbox.wait_journal("token_renewed", account="young", renewed=True)
    await sandbox.wait_journal("credentials_begun", account="refused", eresult=5)
    await sandbox.wait_journal("credentials_begun", account="posted")
    # The code of the mail that the bot has caused: the log-on that it begins sends another one.
    asked = 202
    wait_until(lambda: post_code(service, recording, POSTED_CODE) == asked, "no code is asked for")
    code = (await sandbox.mailbox("posted"))[-1]["code"]
    recording.codes.add(code)
    assert post_code(service, recording, code) == 200
    await sandbox.drop("reset", accounts=["totp"])
    await sandbox.revoke("young", log_off=26)
    await sandbox.wait_journal("credential_logon", 2, account="young", within_s=WAIT_S)
    await sandbox.wait_journal("token_renewed", 2, account="young", renewed=True, within_s=WAIT_S)
    for path in (
        "/match-details?match_id=7490235544",
        "/match-details",
        f"/match-details?match_id={urllib.parse.quote('axe')}",
        "/healthz",
        "/readyz",
        "/status",
        "/metrics",
        "/",
        "/none",
    ):
        recording.add("HTTP", f"{path}: {service.get(path)[1].decode()}\n")
    recording.add("arguments", command_lines(service.process.pid))


def post_code(service: Service, recording: Recording, code: str) -> int:
    """Send a code for `posted`, as an operator would; return the status."""
    request = urllib.request.Request(  # noqa: S310 - ours
        f"{service.url}/admin/accounts/posted/guard",
        data=json.dumps({"code": code}).encode(),
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - ours
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            status, body = refused.code, refused.read()
    recording.add("HTTP", f"guard: {status} {body.decode()}\n")
    return int(status)


def look_around(keys_env: Operator) -> None:
    keys_env.run("accounts", "list")
    keys_env.run("accounts", "list", "--json")
    keys_env.run("config", "show")
    keys_env.run("config", "show", "--json")
    keys_env.run("config", "check")


@pytest.fixture(scope="module", params=["json", "console"])
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Recording:
    """One run, seen from all sides; `request.param` is the form of its log."""
    record = Recording()
    config = tmp_path_factory.mktemp("keys") / "config.toml"
    with (
        guarded_valkey() as port,
        Monitor(port, REDIS_PASSWORD) as monitor,
        SandboxProcess(ACCOUNTS) as sandbox,
    ):
        url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0"
        token_file = config.with_name("admin-token")
        token_file.write_text(ADMIN_TOKEN)
        more = {
            "log": {"level": "debug", "format": request.param},
            "http": {"admin_token_file": str(token_file)},
        }
        settings = service_settings(5, sandbox, url, more)
        config.write_text(toml(settings))
        keys_env = Operator(config, record)
        add_accounts(keys_env)
        with Service(settings, env={"BOTAPI_SECRET_KEY": KEY}) as service:
            asyncio.run(live(service, sandbox, record))
            look_around(keys_env)
            assert service.stop() == 0
            record.add("log", service.log)
        with sync_redis.Redis.from_url(url) as client:
            client.echo("the end")
        wait_until(lambda: "the end" in monitor.text, "MONITOR has stopped")
        record.add("MONITOR", monitor.text)
        record.tokens = tokens_in(monitor.text)
    return record


@pytest.mark.parametrize("where", ["MONITOR", "log", "HTTP", "arguments", "commands"])
def test_no_secret_is_seen(recording: Recording, where: str) -> None:
    assert leaks(recording.seen[where], recording.secrets) == set()


def test_the_search_looked_at_what_it_was_meant_to(recording: Recording) -> None:
    """An empty recording has no secrets in it either."""
    seen = recording.seen
    assert len(recording.tokens) >= 9  # of young 4, of totp 1, of the mailed ones 1 and guard data
    assert len(SEALED.findall(seen["MONITOR"])) >= 9
    for account in TYPED:
        assert account in seen["MONITOR"]
        assert account in seen["log"]
        assert account in seen["HTTP"]
        assert account in seen["commands"]
    assert "debug" in seen["log"]
    assert "supervisor run" in seen["arguments"]
    assert "accounts add" in seen["arguments"]
    assert "***" in seen["commands"]  # the Redis password, where `config show` has it
