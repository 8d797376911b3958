"""How an edit becomes the settings in effect: read when it is whole, applied whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from support.scripted_child import capturing_log

from supervisor.app.reload import LiveSettings
from supervisor.app.settings import load
from supervisor.config.model import Settings

FIRST = "[bots]\ncount = 2\n"


class Stage:
    """A file, and what was applied of it."""

    def __init__(self, file: Path, text: str | None = FIRST) -> None:
        self.file = file
        if text is not None:
            file.write_text(text)
        self.applied: list[Settings] = []
        self.has_applied = asyncio.Event()
        self.now = 100.0
        self.while_settling: list[str] = []  # written one after the other while the file settles
        log, self.lines = capturing_log()
        self.live = LiveSettings(
            load(file if text is not None else None),
            self.apply,
            wall=lambda: self.now,
            sleep=self.sleep,
            log=log,
        )

    async def apply(self, settings: Settings) -> None:
        self.applied.append(settings)
        self.has_applied.set()

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        if self.while_settling:
            self.file.write_text(self.while_settling.pop(0))

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
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "REDISTOGO_URL"):
        monkeypatch.delenv(name, raising=False)
    return Stage(tmp_path / "config.toml")


async def test_an_edit_is_applied_and_told_by_its_keys(stage: Stage) -> None:
    stage.now = 200.0
    line = await stage.edit("[bots]\ncount = 7\n[quota]\nper_account = 3\n")
    assert line is not None
    assert line["event"] == "config_applied"
    assert line["changed"] == ("bots.count", "quota.per_account")
    assert stage.counts == [7]
    assert stage.live.report() == {
        "source": str(stage.file),
        "applied_at": 200.0,
        "refused": None,
        "needs_restart": (),
    }


async def test_the_first_look_finds_what_changed_before_anybody_looked(stage: Stage) -> None:
    stage.file.write_text("[bots]\ncount = 4\n")
    await stage.live.look()
    assert stage.counts == [4]


async def test_looking_at_the_same_file_does_nothing(stage: Stage) -> None:
    await stage.live.look()
    stage.file.touch()
    await stage.live.look()
    assert await stage.edit(FIRST + "# a comment\n") is None
    assert stage.applied == []


async def test_a_file_is_read_once_no_editor_writes_to_it_any_more(stage: Stage) -> None:
    await stage.live.look()
    stage.while_settling = ["[bots]\ncount", "[bots]\ncount = 1", "[bots]\ncount = 12\n"]
    line = await stage.edit("")
    assert line is not None
    assert line["event"] == "config_applied"
    assert stage.counts == [12]


async def test_a_bad_edit_is_refused_once_and_forgotten_when_it_is_good_again(stage: Stage) -> None:
    line = await stage.edit("[bots]\ncount = 7\ncuont = 3\n")
    assert line is not None
    assert (line["event"], line["key"]) == ("config_refused", "bots.cuont")
    await stage.live.look()
    assert len([one for one in stage.lines if one["event"] == "config_refused"]) == 1
    assert "cuont" in stage.live.report()["refused"]
    assert stage.applied == []
    line = await stage.edit(FIRST)
    assert line is not None
    assert (line["event"], line["changed"]) == ("config_applied", ())
    assert stage.live.report()["refused"] is None


async def test_a_file_that_is_gone_or_empty_does_not_mean_the_defaults(stage: Stage) -> None:
    await stage.live.look()
    stage.file.unlink()
    await stage.live.look()
    assert "there is no such file" in stage.live.report()["refused"]
    await stage.edit("\n")
    assert "is empty" in stage.live.report()["refused"]
    assert stage.applied == []
    await stage.edit("# the defaults\n")
    assert stage.counts == [5]


async def test_a_file_may_come_later(stage: Stage, tmp_path: Path) -> None:
    stage.file.unlink()
    stage = Stage(tmp_path / "config.toml", None)
    await stage.live.look()
    assert stage.live.report()["source"] == "defaults"
    await stage.edit("[bots]\ncount = 9\n")
    assert stage.counts == [9]
    assert stage.live.report()["source"] == "config.toml"


async def test_an_edit_that_the_environment_overrides_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOTAPI_BOTS__COUNT", "2")
    monkeypatch.setenv("PORT", "1234")
    line = await stage.edit("[bots]\ncount = 7\n[http]\nport = 80\n")
    assert line is not None
    assert line["overridden"] == {"bots.count": "BOTAPI_BOTS__COUNT", "http.port": "PORT"}
    assert line["changed"] == ()
    assert line["needs_restart"] == ("http.port",)
    assert stage.applied == []


async def test_no_line_holds_a_secret(stage: Stage) -> None:
    for url in ("redis://:hunter2@h/0", "http://u:hunter2@h", "redis://u:hunter2@[/0"):
        await stage.edit(f'[redis]\nurl = "{url}"\n')
    assert len(stage.lines) == 3
    assert "hunter2" not in str(stage.lines) + str(stage.live.report())


async def test_asked_to_it_reads_the_file_without_a_look(stage: Stage) -> None:
    await stage.live.look()
    stage.live.ask_to_reread()
    stage.file.write_text("[bots]\ncount = 3\n")
    serving = asyncio.create_task(stage.live.reread_when_asked())
    await stage.has_applied.wait()
    assert stage.counts == [3]
    serving.cancel()
    await asyncio.wait({serving})
