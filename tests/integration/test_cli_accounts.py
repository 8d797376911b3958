"""`botapi accounts` with real processes, a real Valkey and the sandbox."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis
from support.command import on_terminal

from bench.env import service_settings
from bench.sandbox_process import SandboxProcess
from bench.service_process import ServiceProcess, toml
from bench.valkey import own_valkey

pytestmark = pytest.mark.integration

RAW = b"twenty-byte-secret!!"
SECRET = base64.b64encode(RAW).decode()


@dataclass
class Said:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@dataclass
class Operator:
    """A config with a Valkey, and the commands on it."""

    config: Path
    redis: sync_redis.Redis
    url: str

    def run(self, *words: str, typed: str = "") -> Said:
        command = [sys.executable, "-m", "supervisor", "accounts", *words]
        done = subprocess.run(
            [*command, "--config", str(self.config)],
            input=typed,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def listed(self) -> dict[str, Any]:
        return {row["account"]: row for row in json.loads(self.run("list", "--json").out)}


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with own_valkey() as valkey:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        config = tmp_path / "config.toml"
        config.write_text(toml({"redis": {"url": url}}))
        with sync_redis.Redis.from_url(url, decode_responses=True) as client:
            yield Operator(config, client, url)


def test_an_added_account_is_there_as_the_seed_would_have_put_it(operator: Operator) -> None:
    said = operator.run("add", "axe", typed="hunter2\n")
    assert (said.code, said.out) == (0, "axe: added\n")
    assert operator.redis.hget("botapi:passwords", "axe") == "hunter2"
    assert operator.redis.zscore("botapi:checkouts", "axe") == 0
    assert "hunter2" not in said.out + said.err


def test_a_shared_secret_is_asked_for_and_checked(operator: Operator) -> None:
    said = operator.run("add", "axe", "--with-shared-secret", typed="pw\nnot base64!\n")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "shared secret: " in said.err
    assert "expected 20 bytes as base64" in said.err
    assert operator.redis.hget("botapi:passwords", "axe") is None
    for form in (SECRET, RAW.hex(), base64.b32encode(RAW).decode()):
        said = operator.run("add", "axe", "--with-shared-secret", typed=f"pw\n{form}\n")
        assert said.code == 0
        assert operator.redis.hget("botapi:secrets", "axe") == SECRET
        operator.redis.delete("botapi:secrets")


def test_a_missing_password_is_one_line(operator: Operator) -> None:
    said = operator.run("add", "axe", typed="")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "password" in said.err


@pytest.mark.parametrize(
    "text",
    [
        "axe:pw1\n\n# a comment\nbane:p:w:2\nbroken\n:absent\n",
        'name,password,shared_secret\naxe,pw1,\nbane,p:w:2,\nbroken,,\nx y,pw,\n"c",pw,!!\n',
        json.dumps(
            [{"name": "axe", "password": "pw1"}, {"name": "bane", "password": "p:w:2"}, 5, {}]
        ),
    ],
)
def test_an_import_takes_all_or_nothing_and_names_the_bad(operator: Operator, text: str) -> None:
    said = operator.run("import", "-", typed=text)
    assert said.code == 1
    assert said.out.startswith("0 imported, ")
    assert len(said.err.splitlines()) >= 2
    assert "pw1" not in said.out + said.err
    assert operator.redis.hgetall("botapi:passwords") == {}
    assert operator.redis.zcard("botapi:checkouts") == 0


def test_mafiles_are_imported_with_a_file_of_passwords_or_onto_accounts_that_are_there(
    operator: Operator, tmp_path: Path
) -> None:
    logins, mafile = tmp_path / "logins.csv", tmp_path / "76561198000000001.maFile"
    logins.write_bytes("Login;Passwort\naxe;pw1\nbane;p:w\n".encode("utf-16"))
    mafile.write_text(json.dumps({"shared_secret": SECRET, "account_name": "AXE"}))

    said = operator.run("import", str(mafile))
    assert (said.code, said.out) == (1, "")
    assert "no password is known for AXE" in said.err
    assert "botapi accounts add" in said.err
    assert operator.redis.keys("*") == []

    said = operator.run("import", str(logins), str(mafile))
    assert (said.code, said.out) == (1, "0 imported, 1 refused\n")
    assert f"{logins}, line 1: it looks like a header" in said.err
    logins.write_bytes("Login;Password\naxe;pw1\nbane;p:w\n".encode("utf-16"))
    for files in ((logins, mafile), (mafile,)):
        assert operator.run("import", *map(str, files)).code == 0
        assert operator.redis.hgetall("botapi:passwords") == {"axe": "pw1", "bane": "p:w"}
        assert operator.redis.hgetall("botapi:secrets") == {"axe": SECRET}
        operator.redis.delete("botapi:secrets")


def test_an_import_of_nothing_but_good_ones_succeeds(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "accounts.txt"
    file.write_text("axe:pw\n")
    assert operator.run("import", str(file)).code == 0
    assert operator.run("import", str(tmp_path / "none")).code == 2


def test_the_list_shows_the_state_of_every_account(operator: Operator) -> None:
    operator.run("import", "-", typed="free:pw\nold:pw\ncool:pw\n")
    operator.redis.zincrby("botapi:checkouts", 1, "old")
    operator.redis.zadd("botapi:checkouts", {"nopassword": 0})
    operator.redis.hset("botapi:passwords", "unlisted", "pw")
    operator.redis.zadd("botapi:cooldowns", {"cool": 9e12})
    operator.redis.hset("botapi:cooldown-reasons", "cool", "wrong password")
    states = {name: row["state"] for name, row in operator.listed().items()}
    assert states == {
        "free": "free",
        "old": "checked out",
        "cool": "cooling down",
        "nopassword": "no password",
        "unlisted": "not listed",
    }
    table = operator.run("list").out
    assert "wrong password" in table
    assert len(table.splitlines()) == 6


def test_what_a_crashed_client_left_can_be_released_and_a_cooldown_ended(
    operator: Operator,
) -> None:
    operator.run("add", "axe", typed="pw\n")
    operator.redis.zincrby("botapi:checkouts", 3, "axe")
    assert operator.run("release", "axe").code == 0
    assert operator.redis.zscore("botapi:checkouts", "axe") == 0
    operator.redis.zadd("botapi:cooldowns", {"axe": 9e12})
    assert operator.run("reset", "axe").code == 0
    assert operator.listed()["axe"]["state"] == "free"


def test_every_command_speaks_json_too(operator: Operator) -> None:
    def told(*words: str, typed: str = "") -> Any:
        return json.loads(operator.run(*words, "--json", typed=typed).out)

    assert told("add", "axe", typed="pw\n") == {"account": "axe", "done": "added"}
    assert told("import", "-", typed="bane:pw\n") == {"imported": 1, "refused": []}
    imported = told("import", "-", typed="mars:pw\nbroken\n")
    assert imported["imported"] == 0
    assert [row["where"] for row in imported["refused"]] == ["line 2"]
    for command, done in (("release", "free"), ("reset", "reset"), ("remove", "removed")):
        assert told(command, "axe") == {"account": "axe", "done": done}
    said = operator.run("remove", "absent", "--json")
    assert said.code == 1
    assert json.loads(said.out)["message"] == "there is no account absent"


@pytest.mark.parametrize("command", ["release", "reset", "remove"])
def test_an_unknown_account_is_one_line_and_exit_code_1(operator: Operator, command: str) -> None:
    said = operator.run(command, "absent")
    assert (said.code, said.err) == (1, "botapi: there is no account absent\n")


def test_a_key_of_the_wrong_type_is_one_line(operator: Operator) -> None:
    operator.redis.set("botapi:checkouts", "oops")
    said = operator.run("list")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "WRONGTYPE" in said.err


def test_redis_away_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(toml({"redis": {"url": "redis://127.0.0.1:1/0"}}))
    with sync_redis.Redis() as unused:
        said = Operator(config, unused, "").run("list")
    assert (said.code, said.err) == (1, "botapi: Redis is unavailable (end_needs)\n")


def test_the_private_valkey_is_used_with_and_without_the_service() -> None:
    with ServiceProcess({}, args=("--sandbox",)) as service, sync_redis.Redis() as unused:
        operator = Operator(service.config_file, unused, "")
        service.wait_ready(5)
        rows = operator.listed()
        assert {row["state"] for row in rows.values()} == {"in use"}
        assert all(row["last_logon_s"] < 60 for row in rows.values())
        said = operator.run("remove", "axe")
        assert said.code == 1
        said = operator.run("remove", "abaddon")
        assert (said.code, said.err) == (1, "botapi: account abaddon is in use\n")
        assert service.stop() == 0
        assert {row["state"] for row in operator.listed().values()} == {"free"}
        assert operator.run("remove", "abaddon").code == 0
        assert "abaddon" not in operator.listed()


def test_a_code_from_the_mail_is_asked_for_once_and_the_bots_go_on_with_the_token(
    operator: Operator,
) -> None:
    account = {"name": "mailed", "password": "pw", "email_code": "AB12C"}
    with SandboxProcess([account]) as sandbox:
        settings = service_settings(1, sandbox, operator.url)
        operator.config.write_text(toml(settings))
        operator.run("add", "mailed", typed="pw\n")
        said = operator.run("login", "mailed", typed="WRONG\nAB12C\n")
        assert said.code == 0, said.err
        assert "That code was wrong" in said.err
        assert "the token is stored" in said.out
        assert operator.listed()["mailed"]["state"] == "free"
        with ServiceProcess(settings) as service:
            service.wait_ready(1)
        logons = asyncio.run(sandbox.journal("credential_logon"))
        assert len(logons) == 1


def test_an_approval_in_the_app_ends_the_prompt(operator: Operator, tmp_path: Path) -> None:
    account = {"name": "phone", "password": "pw", "shared_secret": "c29tZSBzZWNyZXQ="}
    with SandboxProcess([account]) as sandbox:
        operator.config.write_text(toml(service_settings(1, sandbox, operator.url)))
        operator.run("add", "phone", typed="pw\n")
        words = ("accounts", "login", "phone", "--config", str(operator.config))
        with on_terminal(*words, cwd=tmp_path) as terminal:
            terminal.wait_for("or approve it there: ")
            asyncio.run(sandbox.call("POST", "/auth/decide", {"account": "phone"}))
            assert terminal.ended() == 0
        assert "the token is stored" in terminal.text


def test_a_code_is_read_from_a_terminal(operator: Operator, tmp_path: Path) -> None:
    account = {"name": "mailed", "password": "pw", "email_code": "AB12C"}
    with SandboxProcess([account]) as sandbox:
        operator.config.write_text(toml(service_settings(1, sandbox, operator.url)))
        operator.run("add", "mailed", typed="pw\n")
        words = ("accounts", "login", "mailed", "--config", str(operator.config))
        with on_terminal(*words, cwd=tmp_path) as terminal:
            for code in ("wrong", "ab1 2c"):
                terminal.wait_for("(example.com): ")
                terminal.press(f"{code}\n")
            assert terminal.ended() == 0
        assert "That code was wrong" in terminal.text
        assert "the token is stored" in terminal.text


def test_a_login_without_a_code_leaves_the_account_free(operator: Operator) -> None:
    account = {"name": "mailed", "password": "pw", "email_code": "AB12C"}
    with SandboxProcess([account]) as sandbox:
        operator.config.write_text(toml(service_settings(1, sandbox, operator.url)))
        operator.run("add", "mailed", typed="pw\n")
        said = operator.run("login", "mailed", typed="")
        assert said.code == 1
        assert "needs a person" in said.err
        assert operator.listed()["mailed"]["state"] == "free"


def test_a_second_spelling_is_the_account_that_exists_and_the_answer_says_so(
    operator: Operator,
) -> None:
    operator.run("add", "Axe", typed="one\n")
    said = operator.run("add", "axe", typed="two\n")
    sentence = "axe is the same Steam account as Axe, which has the new password now\n"
    assert (said.code, said.out, said.err) == (0, "Axe: added\n", sentence)
    said = operator.run("import", "-", typed="AXE:three\nbane:pw\n")
    assert (said.code, said.out) == (0, "2 imported, 0 refused\n")
    assert [line.split(",")[0] for line in said.err.splitlines()] == [
        "AXE is the same Steam account as Axe",
    ]
    assert operator.redis.hgetall("botapi:passwords") == {"Axe": "three", "bane": "pw"}
    assert set(operator.listed()) == {"Axe", "bane"}


def test_a_name_that_is_not_utf_8_is_removed_by_what_the_list_shows(operator: Operator) -> None:
    for stored in (b"m\xfcller", b"tab\there"):
        operator.redis.hset("botapi:passwords", stored, "pw")
        operator.redis.zadd("botapi:checkouts", {stored: 0})
    assert [(name, row["state"]) for name, row in operator.listed().items()] == [
        ("m\\xfcller", "unusable"),
        ("tab\\u0009here", "unusable"),
    ]
    assert "Steam has no such name" in operator.run("list").out
    said = operator.run("login", "m\\xfcller")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "account m\\xfcller cannot be used: Steam has no such name" in said.err
    for name in ("m\\xfcller", "tab\\u0009here"):
        said = operator.run("remove", name)
        assert (said.code, said.out) == (0, f"{name}: removed\n")
    assert operator.listed() == {}
