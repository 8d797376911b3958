"""An edit of the keys file takes effect; a bad one changes nothing and says why."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from support.fake_clock import FakeClock
from support.scripted_child import capturing_log

from actors.http.auth.api_keys import digest_of
from supervisor.app.web import LiveKeys
from supervisor.config.errors import ConfigError


def line(name: str, more: str = "") -> str:
    return f"{name} sha256:{digest_of(name).hex()} {more}\n"


class QuickClock(FakeClock):
    """Sleeps no time at all: no other process writes to the file meanwhile."""

    async def sleep(self, seconds: float) -> None:
        del seconds


class KeysEnv:
    """A keys file and the component that follows it."""

    def __init__(self, file: Path) -> None:
        log, self.lines = capturing_log()
        self.file = file
        self.live = LiveKeys(file, clock=QuickClock(), log=log)

    async def save(self, text: str | bytes | None) -> list[MutableMapping[str, Any]]:
        """Edit the file, let it be looked at, return what was logged."""
        self.lines.clear()
        if text is None:
            self.file.unlink()
        else:
            self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        await self.live.look()
        return list(self.lines)

    def known(self, *names: str) -> list[bool]:
        return [self.live.ring.find(name) is not None for name in names]


@pytest.fixture
def env(tmp_path: Path) -> KeysEnv:
    file = tmp_path / "keys"
    file.write_text(line("alice"))
    return KeysEnv(file)


async def test_an_edit_takes_effect_and_is_told_by_name(env: KeysEnv) -> None:
    (told,) = await env.save(line("alice", "priority=3") + line("bob"))
    assert told["event"] == "api_keys_applied"
    assert (told["count"], told["added"], told["removed"], told["changed"]) == (
        2, ["bob"], [], ["alice"],
    )  # fmt: skip
    assert env.known("alice", "bob") == [True, True]
    (told,) = await env.save(line("bob"))
    assert told["removed"] == ["alice"]
    assert env.known("alice", "bob") == [False, True]
    assert digest_of("alice").hex() not in repr(env.lines)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("alice\n", "line 1: alice needs"),
        ("", "it is empty"),
        (" \n", "it is empty"),
        (b"\xff\n", "it is not UTF-8"),
        (None, "it cannot be read"),
    ],
)
async def test_a_bad_edit_changes_nothing_and_says_why(
    env: KeysEnv, content: str | bytes | None, reason: str
) -> None:
    (told,) = await env.save(content)
    assert (told["event"], told["log_level"]) == ("api_keys_refused", "error")
    assert reason in told["reason"]
    assert env.known("alice") == [True]
    (told,) = await env.save(line("alice"))
    assert told["event"] == "api_keys_applied"


async def test_what_changes_no_key_is_not_worth_a_line(env: KeysEnv) -> None:
    assert await env.save("# a comment\n" + line("alice")) == []


async def test_a_comment_alone_lets_no_client_in(env: KeysEnv) -> None:
    (told,) = await env.save("# closed\n")
    assert told["removed"] == ["alice"]
    assert env.known("alice") == [False]


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "botapi keys add"), ("alice\n", "line 1: alice needs")]
)
def test_a_file_that_cannot_be_used_at_the_start_is_one_line(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "keys").write_text(content)
    with pytest.raises(ConfigError, match=rf"^http\.api_keys_file: .*{reason}"):
        KeysEnv(tmp_path / "keys")
