"""What the service keeps on disk is for its own user alone, and lies nowhere in plain text."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as sync_redis
from support.command import Said, botapi, on_terminal
from support.valkey import valkey_url  # noqa: F401 - a fixture

from actors.accounts.encryption import MARK
from actors.redis.embedded import EmbeddedValkey
from bench.service_process import ServiceProcess, toml

pytestmark = pytest.mark.integration

PASSWORD = "pl41n-Quokka-99"
SECRET = base64.b64encode(b"twenty secret bytes!").decode()


@pytest.fixture(autouse=True)
def _generous_umask() -> Iterator[None]:
    """Let whatever sets no mode of its own be open to all."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(root: Path) -> list[str]:
    return [
        f"{oct(stat.S_IMODE(path.lstat().st_mode))} {path.relative_to(root)}"
        for path in root.rglob("*")
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]


def config_for(tmp_path: Path, url: str = "embedded") -> Path:
    config = tmp_path / "config.toml"
    config.write_text(toml({"redis": {"url": url, "data_dir": str(tmp_path / "data")}}))
    return config


def accounts(config: Path, *words: str, typed: str = "", **env: str) -> Said:
    return botapi(
        "accounts", *words, "--config", str(config), cwd=config.parent, typed=typed, env=env
    )


def on_disk(data: Path) -> bytes:
    return b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())


async def stored(data: Path, **written: str) -> dict[str, str]:
    """Open what the private Valkey has on disk, write passwords, return all passwords there."""
    valkey = EmbeddedValkey(data)
    await valkey.start()
    socket = valkey.url.removeprefix("unix://")
    with sync_redis.Redis(unix_socket_path=socket, decode_responses=True) as client:
        for name, password in written.items():  # as the first BotAPI's script does
            client.hset("botapi:passwords", name, password)
            client.zadd("botapi:checkouts", {name: 0})
        found = client.hgetall("botapi:passwords")
    valkey.stop()
    await valkey.run()
    valkey.disclaim()
    return dict(found)


def test_only_its_own_user_can_read_the_data_of_a_running_service() -> None:
    with ServiceProcess({}, args=("--sandbox",)) as service:
        service.wait_ready(1)
        data = service.config_file.with_name("data")
        names = {path.name for path in data.iterdir()}
        assert names == {"admin-token", "instance", "sandbox", "sealing-key", "valkey"}
        assert open_to_others(data) == []
        service.stop()
        for path in data.rglob("*"):  # as an earlier version has left it
            path.chmod(0o755 if path.is_dir() else 0o644)
        service.start()
        service.wait_ready(1)
        assert open_to_others(data) == []
        assert b'"refresh_token"' not in on_disk(data / "valkey")
        assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700  # the test's own, left alone


def test_a_directory_that_the_operator_made_keeps_its_mode(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    neighbour = data / "neighbour"
    neighbour.write_text("not ours")
    assert accounts(config_for(tmp_path), "add", "axe", typed="pw\n").code == 0
    assert stat.S_IMODE(data.stat().st_mode) == 0o755
    assert open_to_others(data) == ["0o666 neighbour"]


async def test_the_private_valkey_holds_nothing_in_plain_text(tmp_path: Path) -> None:
    config, data = config_for(tmp_path), tmp_path / "data"
    said = accounts(config, "add", "axe", "--with-shared-secret", typed=f"{PASSWORD}\n{SECRET}\n")
    assert said.code == 0, said.err
    assert (await stored(data))["axe"].startswith(MARK)
    for secret in (PASSWORD, SECRET):
        assert secret.encode() not in on_disk(data)
    key = (data / "sealing-key").read_text()
    assert accounts(config, "add", "bane", typed="pw\n").code == 0
    assert (data / "sealing-key").read_text() == key


async def test_what_an_earlier_version_stored_plain_is_sealed_at_the_start() -> None:
    with ServiceProcess({"steam": {"directory_url": "http://127.0.0.1:9"}}) as service:
        data = service.config_file.with_name("data")
        service.stop()
        assert await stored(data, axe=PASSWORD) == {"axe": PASSWORD}
        service.start()
        assert not list(service.events("secrets_unsealed"))
        assert service.stop() == 0
        assert (await stored(data))["axe"].startswith(MARK)
        assert PASSWORD.encode() not in on_disk(data)


async def test_a_lost_key_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    config, data = config_for(tmp_path), tmp_path / "data"
    assert accounts(config, "add", "axe", typed="pw\n").code == 0
    sealed = await stored(data)
    for lost in (Path.unlink, lambda file: file.write_text("damaged")):
        lost(data / "sealing-key")
        said = accounts(config, "add", "bane", typed="pw\n")
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert str(data / "sealing-key") in said.err
    assert await stored(data) == sealed


def test_with_a_redis_of_others_no_key_is_made(tmp_path: Path, valkey_url: str) -> None:  # noqa: F811
    """Two instances with a key of their own each would lock each other out."""
    config = config_for(tmp_path, valkey_url)
    assert accounts(config, "add", "axe", typed="pw\n").code == 0
    assert not (tmp_path / "data").exists()
    with sync_redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        assert client.hget("botapi:passwords", "axe") == "pw"
    with ServiceProcess({"redis": {"url": valkey_url}}) as service:
        assert len(list(service.events("secrets_unsealed"))) == 1
        assert not (service.config_file.parent / "data" / "sealing-key").exists()


def test_a_key_that_is_given_needs_no_file(tmp_path: Path) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    said = accounts(config_for(tmp_path), "add", "axe", typed="pw\n", BOTAPI_SECRET_KEY=key)
    assert said.code == 0
    assert not (tmp_path / "data" / "sealing-key").exists()


def test_a_start_on_a_terminal_says_where_everything_is_and_what_to_type(tmp_path: Path) -> None:
    config = config_for(tmp_path)
    config.write_text(
        config.read_text() + "[http]\nport = 0\n[steam]\ndirectory_url = 'http://127.0.0.1:9'\n"
    )
    with on_terminal("run", "--config", str(config), cwd=tmp_path, size=(40, 200)) as terminal:
        shown = terminal.wait_for("botapi accounts add NAME")
        terminal.process.terminate()
        assert terminal.ended() == 0
    assert f"in {tmp_path / 'data' / 'admin-token'}" in shown
    assert "http://127.0.0.1:" in shown
    assert "none yet" in shown
