"""The admin token: its source, and requests that show it."""

from __future__ import annotations

import contextlib
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripted_child import capturing_log

from actors.http.auth.admin import AdminToken, new_token
from actors.http.auth.clients import is_loopback
from supervisor.app.secrets import admin_token
from supervisor.app.startup import own_instance
from supervisor.config.errors import ConfigError
from supervisor.config.model import Http, Redis, Settings

TEXT = "a token of some length"


def named(file: Path | None, data_dir: Path) -> Settings:
    return Settings(http=Http(admin_token_file=file), redis=Redis(data_dir=data_dir))


def test_only_the_token_opens() -> None:
    token = AdminToken(f" {TEXT}\n")
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR "):
        assert token.opens(f"{scheme} {TEXT}")
    for wrong in (
        None,
        "",
        TEXT,
        f"Basic {TEXT}",
        f"Bearer{TEXT}",
        f"Bearer {TEXT}x",
        "Bearer \udcff",
        "Bearer ",
    ):
        assert not token.opens(wrong)
    assert TEXT not in repr(vars(token))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_is_this_machines_alone(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "", "localhost"])  # noqa: S104 - never bound
def test_any_other_address_is_reached_by_others(address: str) -> None:
    assert not is_loopback(address)


def test_our_own_token_is_made_once_and_is_for_our_eyes_alone(tmp_path: Path) -> None:
    log, lines = capturing_log()
    first = admin_token(named(None, tmp_path), log=log)
    file = tmp_path / "admin-token"
    text = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = admin_token(named(None, tmp_path), log=log)
    assert file.read_text() == text
    for token in (first, again):
        assert token is not None
        assert token.opens(f"Bearer {text.strip()}")
    assert [line["event"] for line in lines] == ["admin_token_made"]
    assert text.strip() not in repr(lines)


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file"])
def test_where_no_token_can_be_made_there_is_no_admin_api(tmp_path: Path, place: str) -> None:
    """A read-only data directory does not keep a service from answering."""
    directory = tmp_path / "file" if place == "a file" else Path(place)
    if place == "a file":
        directory.touch()
    log, lines = capturing_log()
    assert admin_token(named(None, directory), log=log) is None
    assert [line["event"] for line in lines] == ["admin_api_off"]
    assert str(directory) in lines[0]["reason"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_token_that_others_can_read_is_warned_of(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text(TEXT)
    file.chmod(mode)
    log, lines = capturing_log()
    token = admin_token(named(file, tmp_path), log=log)
    assert token is not None
    assert token.opens(f"Bearer {TEXT}")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("admin_token_exposed", "warning")
    ]
    file.chmod(0o600)
    lines.clear()
    admin_token(named(file, tmp_path), log=log)
    assert lines == []


@pytest.mark.parametrize("content", [None, b"short", b"\xff" * 20])
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    log, _ = capturing_log()
    with pytest.raises(ConfigError, match=r"^http\.admin_token_file: [^\n]*$"):
        admin_token(named(file, tmp_path), log=log)


def test_a_full_disk_leaves_nothing_that_blocks_a_later_start(tmp_path: Path) -> None:
    log, lines = capturing_log()
    with full_disk():
        assert admin_token(named(None, tmp_path), log=log) is None
        with own_instance(tmp_path, log=log) as instance:
            assert instance
            assert not (tmp_path / "instance").read_text()
    assert [line["event"] for line in lines] == ["admin_api_off", "instance_unnamed"]
    token = admin_token(named(None, tmp_path), log=log)
    assert token is not None
    assert token.opens(f"Bearer {(tmp_path / 'admin-token').read_text().strip()}")
    with own_instance(tmp_path, log=log) as first:
        assert (tmp_path / "instance").read_text() == f"{first}\n"
    with own_instance(tmp_path, log=log) as again:
        assert again == first


@pytest.mark.parametrize("left", [b"", b"\n"])
def test_an_empty_file_of_an_earlier_start_is_filled(tmp_path: Path, left: bytes) -> None:
    log, _ = capturing_log()
    (tmp_path / "admin-token").write_bytes(left)
    assert admin_token(named(None, tmp_path), log=log) is not None


@pytest.mark.parametrize("left", [b"short", b"\xff" * 20])
def test_a_broken_file_of_our_own_blames_no_setting(tmp_path: Path, left: bytes) -> None:
    log, _ = capturing_log()
    (tmp_path / "admin-token").write_bytes(left)
    with pytest.raises(ConfigError, match=r"^/.*/admin-token.* delete "):
        admin_token(named(None, tmp_path), log=log)


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow: a write fails, as on a full disk (EFBIG instead of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_two_tokens_are_the_same() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert AdminToken(new_token())
