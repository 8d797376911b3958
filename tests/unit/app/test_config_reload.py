"""How an edit becomes the settings in effect: read when it is whole, applied whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import pytest
from support.fake_clock import FakeClock
from support.scripted_child import capturing_log

from supervisor.app.load_settings import load
from supervisor.app.reload import LiveSettings, RunningComponents
from supervisor.config.model import Settings

FIRST = "[bots]\ncount = 2\n"


class EditingClock(FakeClock):
    """Sleeps no time, but writes the next of `edits` into the file meanwhile."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.utc = 100.0
        self.edits: list[str] = []
        self._file = file

    def wall(self) -> float:
        return self.utc

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        if self.edits:
            self._file.write_text(self.edits.pop(0))


class SettingsEnv:
    """A settings file, and what was applied of it."""

    def __init__(self, file: Path, text: str | None = FIRST) -> None:
        self.file = file
        if text is not None:
            file.write_text(text)
        self.applied: list[Settings] = []
        self.has_applied = asyncio.Event()
        self.clock = EditingClock(file)
        log, self.lines = capturing_log()
        loaded = load(file if text is not None else None)
        components = cast("RunningComponents", self)
        self.live = LiveSettings(loaded, components, clock=self.clock, log=log)

    async def reconfigure(self, before: Settings, settings: Settings) -> None:
        assert before != settings
        self.applied.append(settings)
        self.has_applied.set()

    async def edit(self, text: str) -> MutableMapping[str, Any] | None:
        """Save `text` and look; return what was logged of it."""
        before = len(self.lines)
        self.file.write_text(text)
        await self.live.look()
        new = [line for line in self.lines[before:] if line["event"] != "config_unchanged"]
        assert len(new) <= 1
        return new[0] if new else None

    @property
    def counts(self) -> list[int]:
        return [settings.bots.count for settings in self.applied]


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsEnv:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "REDISTOGO_URL"):
        monkeypatch.delenv(name, raising=False)
    return SettingsEnv(tmp_path / "config.toml")


async def test_an_edit_is_applied_and_told_by_its_keys(env: SettingsEnv) -> None:
    env.clock.utc = 200.0
    line = await env.edit("[bots]\ncount = 7\n[quota]\nper_account = 3\n")
    assert line is not None
    assert line["event"] == "config_applied"
    assert line["changed"] == ("bots.count", "quota.per_account")
    assert env.counts == [7]
    assert env.live.report() == {
        "source": str(env.file),
        "applied_at": 200.0,
        "refused": None,
        "needs_restart": (),
    }


async def test_the_first_look_finds_what_changed_before_anybody_looked(env: SettingsEnv) -> None:
    env.file.write_text("[bots]\ncount = 4\n")
    await env.live.look()
    assert env.counts == [4]


async def test_looking_at_the_same_file_does_nothing(env: SettingsEnv) -> None:
    await env.live.look()
    env.file.touch()
    await env.live.look()
    assert await env.edit(FIRST + "# a comment\n") is None
    assert env.applied == []


async def test_a_file_is_read_once_no_editor_writes_to_it_any_more(env: SettingsEnv) -> None:
    await env.live.look()
    env.clock.edits = ["[bots]\ncount", "[bots]\ncount = 1", "[bots]\ncount = 12\n"]
    line = await env.edit("")
    assert line is not None
    assert line["event"] == "config_applied"
    assert env.counts == [12]


async def test_a_bad_edit_is_refused_once_and_forgotten_when_it_is_good_again(
    env: SettingsEnv,
) -> None:
    line = await env.edit("[bots]\ncount = 7\ncuont = 3\n")
    assert line is not None
    assert (line["event"], line["key"]) == ("config_refused", "bots.cuont")
    await env.live.look()
    assert len([one for one in env.lines if one["event"] == "config_refused"]) == 1
    assert "cuont" in env.live.report()["refused"]
    assert env.applied == []
    line = await env.edit(FIRST)
    assert line is not None
    assert (line["event"], line["changed"]) == ("config_applied", ())
    assert env.live.report()["refused"] is None


async def test_a_file_that_is_gone_or_empty_does_not_mean_the_defaults(env: SettingsEnv) -> None:
    await env.live.look()
    env.file.unlink()
    await env.live.look()
    assert "there is no such file" in env.live.report()["refused"]
    await env.edit("\n")
    assert "is empty" in env.live.report()["refused"]
    assert env.applied == []
    await env.edit("# the defaults\n")
    assert env.counts == [5]


async def test_a_file_may_come_later(env: SettingsEnv, tmp_path: Path) -> None:
    env.file.unlink()
    env = SettingsEnv(tmp_path / "config.toml", None)
    await env.live.look()
    assert env.live.report()["source"] == "defaults"
    await env.edit("[bots]\ncount = 9\n")
    assert env.counts == [9]
    assert env.live.report()["source"] == "config.toml"


async def test_an_edit_that_the_environment_overrides_says_so(
    env: SettingsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTAPI_BOTS__COUNT", "2")
    monkeypatch.setenv("PORT", "1234")
    line = await env.edit("[bots]\ncount = 7\n[http]\nport = 80\n")
    assert line is not None
    assert line["overridden"] == {"bots.count": "BOTAPI_BOTS__COUNT", "http.port": "PORT"}
    assert line["changed"] == ()
    assert line["needs_restart"] == ("http.port",)
    assert env.applied == []


async def test_no_line_holds_a_secret(env: SettingsEnv) -> None:
    for url in ("redis://:hunter2@h/0", "http://u:hunter2@h", "redis://u:hunter2@[/0"):
        await env.edit(f'[redis]\nurl = "{url}"\n')
    assert len(env.lines) == 3
    assert "hunter2" not in str(env.lines) + str(env.live.report())


async def test_asked_to_it_reads_the_file_without_a_look(env: SettingsEnv) -> None:
    await env.live.look()
    env.live.ask_to_reread()
    env.file.write_text("[bots]\ncount = 3\n")
    serving = asyncio.create_task(env.live.reread_when_asked())
    await env.has_applied.wait()
    assert env.counts == [3]
    serving.cancel()
    await asyncio.wait({serving})


async def test_an_edit_is_checked_by_the_redis_client_too(env: SettingsEnv) -> None:
    """A restart would refuse this URL, so the reload refuses it, and nothing of the edit applies."""
    line = await env.edit(
        '[bots]\ncount = 3\n[redis]\nurl = "redis://localhost/0?no_such_option=1"\n'
    )
    assert line is not None
    assert (line["event"], line["key"]) == ("config_refused", "redis.url")
    assert env.counts == []
