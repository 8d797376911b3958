"""`botapi match` and `status`: output and exit code for each answer of the service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import COMMAND, Said, botapi, environment

from actors.bot.states import BotState
from bench.env import ServiceEnv, service_env
from bench.service_process import toml

pytestmark = pytest.mark.integration

MATCH = "7490235544"


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceEnv]:
    with service_env(1) as one:
        one.service.wait_ready(1)
        yield one


def ask(running: ServiceEnv, *words: str, cwd: Path) -> Said:
    return botapi(*words, cwd=cwd, env={"BOTAPI_URL": running.service.url})


def test_a_match_is_a_table_for_people(running: ServiceEnv, tmp_path: Path) -> None:
    said = ask(running, "match", MATCH, cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert "http://replay153.valve.net/570/7490235544_447089001.dem.bz2" in said.out
    assert "BetBoom Team 30 : 7 G2 x iG" in said.out
    assert [line.split()[0] for line in said.out.splitlines()[-10:]] == ["Radiant"] * 5 + [
        "Dire"
    ] * 5


def test_a_match_is_what_the_service_said_for_programs(running: ServiceEnv, tmp_path: Path) -> None:
    said = ask(running, "match", MATCH, "--json", cwd=tmp_path)
    assert said.code == 0
    assert json.loads(said.out) == json.loads(
        running.service.get(f"/match-details?match_id={MATCH}")[1]
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_terminal_without_unicode_gets_escapes(
    running: ServiceEnv, tmp_path: Path, encoding: str
) -> None:
    env = environment({"BOTAPI_URL": running.service.url, "PYTHONIOENCODING": encoding})
    for words in (("match", MATCH), ("match", MATCH, "--json"), ("status",)):
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, env=env, capture_output=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode(encoding)
        if "--json" in words:
            answer = running.service.get(f"/match-details?match_id={MATCH}")[1]
            assert not answer.isascii()
            assert json.loads(text) == json.loads(answer)


@pytest.mark.parametrize(
    ("match_id", "code", "word"),
    [
        ("9000000001", 3, "not-found"),
        ("4000000015", 3, "blocked"),
        ("0", 2, "invalid"),
        ("99999999999999", 2, "invalid"),
    ],
)
def test_refusals_have_words_and_codes(
    running: ServiceEnv, tmp_path: Path, match_id: str, code: int, word: str
) -> None:
    said = ask(running, "match", match_id, "--json", cwd=tmp_path)
    assert said.code == code
    assert said.err.startswith("botapi: ")
    assert said.err.count("\n") == 1
    assert json.loads(said.out)["error"] == word
    assert ask(running, "match", match_id, cwd=tmp_path).out == ""


async def test_what_may_work_later_is_exit_code_4(running: ServiceEnv, tmp_path: Path) -> None:
    await running.sandbox.faults(gc_other_match=True)
    said = ask(running, "match", "8000000101", "--json", cwd=tmp_path)
    await running.sandbox.clear_faults()
    assert (said.code, json.loads(said.out)["error"]) == (4, "unusable")
    await running.sandbox.faults(gc_down=True)
    await running.sandbox.wait_journal("gc_session_lost")
    said = ask(running, "match", "8000000001", cwd=tmp_path)
    await running.sandbox.clear_faults()
    running.service.wait_ready(1)
    assert said.code == 4
    assert "try again in" in said.err


def test_the_service_is_found_by_the_settings(running: ServiceEnv, tmp_path: Path) -> None:
    port = int(running.service.url.rpartition(":")[2])
    everywhere = "0.0.0.0"  # noqa: S104 - only written down
    (tmp_path / "config.toml").write_text(toml({"http": {"port": port, "host": everywhere}}))
    assert botapi("match", MATCH, cwd=tmp_path).code == 0
    assert botapi("status", cwd=tmp_path, env={"http_proxy": "http://127.0.0.1:1"}).code == 0


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:port", "http://[::1"])
def test_an_address_that_is_none_is_misuse(tmp_path: Path, url: str) -> None:
    said = botapi("match", MATCH, "--url", url, cwd=tmp_path)
    assert (said.code, said.err) == (
        2,
        f'botapi: --url: must be an http:// or https:// URL, not "{url}"\n',
    )


def test_no_service_is_exit_code_1_and_shows_no_password(tmp_path: Path) -> None:
    said = botapi("status", "--url", "http://me:hunter2@127.0.0.1:1", "--json", cwd=tmp_path)
    assert said.code == 1
    assert said.err == "botapi: no answer from http://***@127.0.0.1:1: connection refused\n"
    assert json.loads(said.out)["error"] == "unreachable"


def test_status_shows_the_fleet_to_people_and_programs(running: ServiceEnv, tmp_path: Path) -> None:
    said = ask(running, "status", cwd=tmp_path)
    assert said.code == 0
    assert "well: 1 of 1 bots are ready" in said.out
    (row,) = [line for line in said.out.splitlines() if line.startswith("bot-1 ")]
    assert row.split()[1:3] == ["bot0000", "ready"]
    told = json.loads(ask(running, "status", "--json", cwd=tmp_path).out)
    assert told["bots"] == {"count": 1} | {state.value: state == "ready" for state in BotState}


def test_a_key_is_shown_to_the_service_only(tmp_path: Path) -> None:
    """The key is in no output and in no argument."""
    (tmp_path / "key").write_text("a-very-secret-key\n")
    said = botapi("match", MATCH, "--url", "127.0.0.1:1", "--key-file", "key", cwd=tmp_path)
    assert said.code == 1
    assert "secret" not in said.out + said.err
    said = botapi("match", MATCH, "--key-file", "none", cwd=tmp_path)
    assert (said.code, said.err) == (
        2,
        "botapi: --key-file: none cannot be read: No such file or directory\n",
    )
    assert "BOTAPI_API_KEY" not in environment()
