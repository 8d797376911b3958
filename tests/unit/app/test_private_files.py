"""Files that the service makes once: whole or not there, and for its own user alone."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.scripted_child import capturing_log

from actors.redis.embedded import keep_private
from supervisor.app.secrets import admin_token, take_secret_key, write_once
from supervisor.config.errors import ConfigError
from supervisor.config.model import Http, Redis, Settings

GIVEN = base64.b64encode(bytes(32)).decode()


def make_token(directory: Path) -> object:
    settings = Settings(http=Http(), redis=Redis(data_dir=directory))
    return admin_token(settings, log=capturing_log()[0])


def make_key(directory: Path) -> object:
    return take_secret_key({}, directory / "sealing-key")


@pytest.mark.parametrize("make", [make_token, make_key])
def test_a_full_disk_leaves_nothing_behind_and_the_next_start_works(
    make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with contextlib.suppress(ConfigError):  # without a token there is no admin API
            assert make(tmp_path) is None
    assert not list(tmp_path.iterdir())
    assert make(tmp_path) is not None
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) > 16


@pytest.mark.parametrize("make", [make_token, make_key])
def test_a_file_that_is_there_is_used_and_closed_to_others(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.read_text()
    file.chmod(0o644)
    make(tmp_path)
    assert file.read_text() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_of_two_that_write_one_does(tmp_path: Path) -> None:
    file = tmp_path / "below" / "file"
    assert write_once(file, "first")
    assert not write_once(file, "second")
    assert file.read_text() == "first"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_what_a_link_leads_to_is_not_ours_to_change(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    keep_private(inside)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    assert stat.S_IMODE(inside.stat().st_mode) == 0o700


def test_a_key_that_is_given_later_seals_and_the_own_one_still_opens(tmp_path: Path) -> None:
    own = tmp_path / "sealing-key"
    key = take_secret_key({}, own).text.strip()
    assert take_secret_key({"BOTAPI_SECRET_KEY": "given"}, own).text.split() == ["given", key]
    named = tmp_path / "named"
    named.write_text("in a file")
    found = take_secret_key({"BOTAPI_SECRET_KEY_FILE": str(named)}, own).text
    assert found.split() == ["in", "a", "file", key]


@pytest.mark.parametrize("given", [{}, {"BOTAPI_SECRET_KEY": GIVEN}], ids=["alone", "beside"])
def test_a_damaged_own_key_is_named_also_beside_a_good_one(
    given: dict[str, str], tmp_path: Path
) -> None:
    own = tmp_path / "sealing-key"
    own.write_text("c2hvcnQ=\n")
    with pytest.raises(ConfigError) as refused:
        take_secret_key(given, own).encryption()
    assert str(own) in str(refused.value)
    assert "put the file back from the backup" in str(refused.value)


def test_a_command_that_seals_nothing_makes_no_key(tmp_path: Path) -> None:
    own = tmp_path / "sealing-key"
    assert take_secret_key({}, own, may_make=False).text == ""
    assert not own.exists()
    made = take_secret_key({}, own).text
    assert take_secret_key({}, own, may_make=False).text == made
