"""`botapi accounts`, as an operator types it: real processes, a real Valkey, the sandbox."""

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
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Desk:
    """A config that names a Valkey, and the commands on it."""

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
def desk(tmp_path: Path) -> Iterator[Desk]:
    with own_valkey() as valkey:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        config = tmp_path / "config.toml"
        config.write_text(toml({"redis": {"url": url}}))
        with sync_redis.Redis.from_url(url, decode_responses=True) as client:
            yield Desk(config, client, url)


def test_an_added_account_is_there_as_the_seed_would_have_put_it(desk: Desk) -> None:
    said = desk.run("add", "axe", typed="hunter2\n")
    assert (said.code, said.out) == (0, "axe: added\n")
    assert desk.redis.hget("botapi:passwords", "axe") == "hunter2"
    assert desk.redis.zscore("botapi:checkouts", "axe") == 0
    assert "hunter2" not in said.out + said.err


def test_a_shared_secret_is_asked_for_and_checked(desk: Desk) -> None:
    said = desk.run("add", "axe", "--with-shared-secret", typed="pw\nnot base64!\n")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "shared secret: " in said.err
    assert "expected 20 bytes as base64" in said.err
    assert desk.redis.hget("botapi:passwords", "axe") is None
    for form in (SECRET, RAW.hex(), base64.b32encode(RAW).decode()):
        said = desk.run("add", "axe", "--with-shared-secret", typed=f"pw\n{form}\n")
        assert said.code == 0
        assert desk.redis.hget("botapi:secrets", "axe") == SECRET
        desk.redis.delete("botapi:secrets")


def test_a_missing_password_is_one_line(desk: Desk) -> None:
    said = desk.run("add", "axe", typed="")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert "password" in said.err


@pytest.mark.parametrize(
    "text",
    [
        "axe:pw1\n\n# a comment\nbane:p:w:2\nbroken\n:nobody\n",
        'name,password,shared_secret\naxe,pw1,\nbane,p:w:2,\nbroken,,\nx y,pw,\n"c",pw,!!\n',
        json.dumps(
            [{"name": "axe", "password": "pw1"}, {"name": "bane", "password": "p:w:2"}, 5, {}]
        ),
    ],
)
def test_an_import_takes_all_or_nothing_and_names_the_bad(desk: Desk, text: str) -> None:
    said = desk.run("import", "-", typed=text)
    assert said.code == 1
    assert said.out.startswith("0 imported, ")
    assert len(said.err.splitlines()) >= 2
    assert "pw1" not in said.out + said.err
    assert desk.redis.hgetall("botapi:passwords") == {}
    assert desk.redis.zcard("botapi:checkouts") == 0


def test_mafiles_are_imported_with_a_file_of_passwords_or_onto_accounts_that_are_there(
    desk: Desk, tmp_path: Path
) -> None:
    logins, mafile = tmp_path / "logins.csv", tmp_path / "76561198000000001.maFile"
    logins.write_bytes("Login;Passwort\naxe;pw1\nbane;p:w\n".encode("utf-16"))
    mafile.write_text(json.dumps({"shared_secret": SECRET, "account_name": "AXE"}))

    said = desk.run("import", str(mafile))
    assert (said.code, said.out) == (1, "")
    assert "no password is known for AXE" in said.err
    assert "botapi accounts add" in said.err
    assert desk.redis.keys("*") == []

    said = desk.run("import", str(logins), str(mafile))
    assert (said.code, said.out) == (1, "0 imported, 1 refused\n")
    assert f"{logins}, line 1: it looks like a header" in said.err
    logins.write_bytes("Login;Password\naxe;pw1\nbane;p:w\n".encode("utf-16"))
    for files in ((logins, mafile), (mafile,)):
        assert desk.run("import", *map(str, files)).code == 0
        assert desk.redis.hgetall("botapi:passwords") == {"axe": "pw1", "bane": "p:w"}
        assert desk.redis.hgetall("botapi:secrets") == {"axe": SECRET}
        desk.redis.delete("botapi:secrets")


def test_an_import_of_nothing_but_good_ones_succeeds(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "accounts.txt"
    file.write_text("axe:pw\n")
    assert desk.run("import", str(file)).code == 0
    assert desk.run("import", str(tmp_path / "none")).code == 2


def test_the_list_says_what_everybody_is_doing(desk: Desk) -> None:
    desk.run("import", "-", typed="free:pw\nold:pw\ncool:pw\n")
    desk.redis.zincrby("botapi:checkouts", 1, "old")
    desk.redis.zadd("botapi:checkouts", {"nopassword": 0})
    desk.redis.hset("botapi:passwords", "unlisted", "pw")
    desk.redis.zadd("botapi:cooldowns", {"cool": 9e12})
    desk.redis.hset("botapi:cooldown-reasons", "cool", "wrong password")
    states = {name: row["state"] for name, row in desk.listed().items()}
    assert states == {
        "free": "free",
        "old": "checked out",
        "cool": "cooling down",
        "nopassword": "no password",
        "unlisted": "not listed",
    }
    table = desk.run("list").out
    assert "wrong password" in table
    assert len(table.splitlines()) == 6


def test_what_a_crashed_client_left_can_be_released_and_a_cooldown_ended(desk: Desk) -> None:
    desk.run("add", "axe", typed="pw\n")
    desk.redis.zincrby("botapi:checkouts", 3, "axe")
    assert desk.run("release", "axe").code == 0
    assert desk.redis.zscore("botapi:checkouts", "axe") == 0
    desk.redis.zadd("botapi:cooldowns", {"axe": 9e12})
    assert desk.run("reset", "axe").code == 0
    assert desk.listed()["axe"]["state"] == "free"


def test_every_command_speaks_json_too(desk: Desk) -> None:
    def told(*words: str, typed: str = "") -> Any:
        return json.loads(desk.run(*words, "--json", typed=typed).out)

    assert told("add", "axe", typed="pw\n") == {"account": "axe", "done": "added"}
    assert told("import", "-", typed="bane:pw\n") == {"imported": 1, "refused": []}
    imported = told("import", "-", typed="mars:pw\nbroken\n")
    assert imported["imported"] == 0
    assert [row["where"] for row in imported["refused"]] == ["line 2"]
    for command, done in (("release", "free"), ("reset", "reset"), ("remove", "removed")):
        assert told(command, "axe") == {"account": "axe", "done": done}
    said = desk.run("remove", "nobody", "--json")
    assert said.code == 1
    assert json.loads(said.out)["message"] == "there is no account nobody"


@pytest.mark.parametrize("command", ["release", "reset", "remove"])
def test_an_unknown_account_is_one_line_and_exit_code_1(desk: Desk, command: str) -> None:
    said = desk.run(command, "nobody")
    assert (said.code, said.err) == (1, "botapi: there is no account nobody\n")


def test_a_key_of_the_wrong_type_is_one_line(desk: Desk) -> None:
    desk.redis.set("botapi:checkouts", "oops")
    said = desk.run("list")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "WRONGTYPE" in said.err


def test_redis_away_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(toml({"redis": {"url": "redis://127.0.0.1:1/0"}}))
    with sync_redis.Redis() as nobody:
        said = Desk(config, nobody, "").run("list")
    assert (said.code, said.err) == (1, "botapi: Redis is unavailable (end_needs)\n")


def test_the_private_valkey_is_used_with_and_without_the_service() -> None:
    with ServiceProcess({}, args=("--sandbox",)) as service, sync_redis.Redis() as nobody:
        desk = Desk(service.config_file, nobody, "")
        service.wait_ready(5)
        rows = desk.listed()
        assert {row["state"] for row in rows.values()} == {"in use"}
        assert all(row["last_logon_s"] < 60 for row in rows.values())
        said = desk.run("remove", "axe")
        assert said.code == 1
        said = desk.run("remove", "abaddon")
        assert (said.code, said.err) == (1, "botapi: account abaddon is in use\n")
        assert service.stop() == 0
        assert {row["state"] for row in desk.listed().values()} == {"free"}
        assert desk.run("remove", "abaddon").code == 0
        assert "abaddon" not in desk.listed()


def test_a_code_from_the_mail_is_asked_for_once_and_the_bots_go_on_with_the_token(
    desk: Desk,
) -> None:
    account = {"name": "mailed", "password": "pw", "email_code": "AB12C"}
    with SandboxProcess([account]) as sandbox:
        settings = service_settings(1, sandbox, desk.url)
        desk.config.write_text(toml(settings))
        desk.run("add", "mailed", typed="pw\n")
        said = desk.run("login", "mailed", typed="WRONG\nAB12C\n")
        assert said.code == 0, said.err
        assert "That code was wrong" in said.err
        assert "the token is stored" in said.out
        assert desk.listed()["mailed"]["state"] == "free"
        with ServiceProcess(settings) as service:
            service.wait_ready(1)
        logons = asyncio.run(sandbox.journal("credential_logon"))
        assert len(logons) == 1


def test_an_approval_in_the_app_ends_the_prompt(desk: Desk, tmp_path: Path) -> None:
    account = {"name": "phone", "password": "pw", "shared_secret": "c29tZSBzZWNyZXQ="}
    with SandboxProcess([account]) as sandbox:
        desk.config.write_text(toml(service_settings(1, sandbox, desk.url)))
        desk.run("add", "phone", typed="pw\n")
        words = ("accounts", "login", "phone", "--config", str(desk.config))
        with on_terminal(*words, cwd=tmp_path) as terminal:
            terminal.wait_for("or approve it there: ")
            asyncio.run(sandbox.call("POST", "/auth/decide", {"account": "phone"}))
            assert terminal.ended() == 0
        assert "the token is stored" in terminal.text


def test_a_code_is_read_from_a_terminal(desk: Desk, tmp_path: Path) -> None:
    account = {"name": "mailed", "password": "pw", "email_code": "AB12C"}
    with SandboxProcess([account]) as sandbox:
        desk.config.write_text(toml(service_settings(1, sandbox, desk.url)))
        desk.run("add", "mailed", typed="pw\n")
        words = ("accounts", "login", "mailed", "--config", str(desk.config))
        with on_terminal(*words, cwd=tmp_path) as terminal:
            for code in ("wrong", "ab1 2c"):
                terminal.wait_for("(example.com): ")
                terminal.press(f"{code}\n")
            assert terminal.ended() == 0
        assert "That code was wrong" in terminal.text
        assert "the token is stored" in terminal.text


def test_a_login_without_a_code_leaves_the_account_free(desk: Desk) -> None:
    account = {"name": "mailed", "password": "pw", "email_code": "AB12C"}
    with SandboxProcess([account]) as sandbox:
        desk.config.write_text(toml(service_settings(1, sandbox, desk.url)))
        desk.run("add", "mailed", typed="pw\n")
        said = desk.run("login", "mailed", typed="")
        assert said.code == 1
        assert "needs a person" in said.err
        assert desk.listed()["mailed"]["state"] == "free"


def test_a_second_spelling_is_the_account_that_exists_and_the_answer_says_so(desk: Desk) -> None:
    desk.run("add", "Axe", typed="one\n")
    said = desk.run("add", "axe", typed="two\n")
    sentence = "axe is the same Steam account as Axe, which has the new password now\n"
    assert (said.code, said.out, said.err) == (0, "Axe: added\n", sentence)
    said = desk.run("import", "-", typed="AXE:three\nbane:pw\n")
    assert (said.code, said.out) == (0, "2 imported, 0 refused\n")
    assert [line.split(",")[0] for line in said.err.splitlines()] == [
        "AXE is the same Steam account as Axe",
    ]
    assert desk.redis.hgetall("botapi:passwords") == {"Axe": "three", "bane": "pw"}
    assert set(desk.listed()) == {"Axe", "bane"}


def test_a_name_that_is_not_utf_8_is_removed_by_what_the_list_shows(desk: Desk) -> None:
    for stored in (b"m\xfcller", b"tab\there"):
        desk.redis.hset("botapi:passwords", stored, "pw")
        desk.redis.zadd("botapi:checkouts", {stored: 0})
    assert [(name, row["state"]) for name, row in desk.listed().items()] == [
        ("m\\xfcller", "unusable"),
        ("tab\\u0009here", "unusable"),
    ]
    assert "Steam has no such name" in desk.run("list").out
    said = desk.run("login", "m\\xfcller")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "account m\\xfcller cannot be used: Steam has no such name" in said.err
    for name in ("m\\xfcller", "tab\\u0009here"):
        said = desk.run("remove", name)
        assert (said.code, said.out) == (0, f"{name}: removed\n")
    assert desk.listed() == {}
