"""Changes to Redis by hand, seen by an operator and by the service, with real processes."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
import redis as sync_redis
from support.valkey import valkey_url  # noqa: F401 - a fixture

from actors.accounts.encryption import Encryption
from bench.env import ServiceEnv, service_env
from bench.service_process import Sections, toml

pytestmark = pytest.mark.integration

QUICK: Final[Sections] = {
    "restart": {"backoff_min": 0.2, "backoff_max": 1, "intensity": 30, "period": 60}
}


def botapi(
    config: Path, *words: str, typed: str = "", env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `botapi accounts ...`; return its exit code and what it said."""
    return command(config, "accounts", *words, typed=typed, env=env)


def command(
    config: Path, *words: str, typed: str = "", env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", *words, "--config", str(config)],
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def raw() -> Iterator[Callable[[ServiceEnv], Any]]:
    """Return how to open a client of an environment's Redis; closed at the end."""
    opened: list[sync_redis.Redis] = []

    def open_it(w: ServiceEnv) -> Any:
        opened.append(sync_redis.Redis.from_url(w.redis_url, decode_responses=True))
        return opened[-1]

    yield open_it
    for client in opened:
        client.close()


def wait_until(condition: Callable[[], object], what: str, within: float = 20.0) -> None:
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"not within {within} s: {what}"
        time.sleep(0.05)


def said(w: ServiceEnv, text: str) -> bool:
    return text in w.service.log


def test_a_service_outlives_a_checkouts_key_of_the_wrong_type(
    raw: Callable[[ServiceEnv], Any],
) -> None:
    """While it serves, through a stop and a start; after the repair all is well."""
    with service_env(2, settings=QUICK) as w:
        wire = raw(w)
        w.service.wait_ready(2)
        wire.rename("botapi:checkouts", "aside")
        wire.set("botapi:checkouts", "oops")
        assert w.service.get("/match-details?match_id=5")[0] == 200
        code, out, err = botapi(w.service.config_file, "list")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "WRONGTYPE" in err
        assert w.service.stop() == 0
        w.service.start()
        wait_until(
            lambda: said(w, "a key holds another type (acquire: WRONGTYPE"), "a line about it"
        )
        assert not said(w, "Traceback")
        wire.rename("aside", "botapi:checkouts")
        w.service.wait_ready(2)
        assert w.service.stop() == 0
        assert set(w.scores().values()) == {0}


def test_an_account_without_a_password_is_not_used_and_the_list_says_so(
    raw: Callable[[ServiceEnv], Any],
) -> None:
    with service_env(2, settings=QUICK) as w:
        wire = raw(w)
        w.service.wait_ready(2)
        w.service.stop()
        wire.hdel("botapi:passwords", "bot0000")
        w.service.start()
        w.service.wait_ready(1)
        assert {row["account"] for row in w.service.status()["fleet"]} == {"bot0001", None}
        code, out, _ = botapi(w.service.config_file, "list")
        assert code == 0
        assert [line for line in out.splitlines() if "bot0000" in line and "no password" in line]
        assert not list(w.service.events("child_crashed"))
        w.service.stop()
        code, _, _ = botapi(w.service.config_file, "add", "bot0000", typed="pw-bot0000\n")
        assert code == 0
        w.service.start()
        w.service.wait_ready(2)


def test_a_bad_import_names_its_lines_and_stores_nothing(
    tmp_path: Path,
    valkey_url: str,  # noqa: F811 - a fixture
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(toml({"redis": {"url": valkey_url, "prefix": "imported"}}))
    text = "axe:pw1\nno colon here\n\n:secret3\nbane:\nx y:secret5\n# fine\nchen:pw7\n"
    code, out, err = botapi(config, "import", "-", typed=text)
    assert (code, out) == (1, "0 imported, 4 refused\n")
    named = [line.partition(":")[0] for line in err.splitlines()]
    assert named == [f"line {n}" for n in (2, 4, 5, 6)]
    assert not any(f"secret{n}" in err for n in (3, 5))
    with sync_redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        wire: Any = client
        assert wire.hgetall("imported:passwords") == {}
        assert wire.zrange("imported:checkouts", 0, -1) == []


def test_a_login_of_an_unknown_account_is_one_line(tmp_path: Path, valkey_url: str) -> None:  # noqa: F811 - a fixture
    config = tmp_path / "config.toml"
    config.write_text(toml({"redis": {"url": valkey_url, "prefix": "unknown"}}))
    assert botapi(config, "login", "absent") == (1, "", "botapi: there is no account absent\n")


def key_of(letter: bytes) -> str:
    return base64.b64encode(letter * 32).decode()


def test_the_wrong_secret_key_is_reported_with_a_remedy_and_overwrites_nothing(
    raw: Callable[[ServiceEnv], Any],
) -> None:
    right, wrong = key_of(b"r"), key_of(b"w")
    opens_none = "botapi: BOTAPI_SECRET_KEY: it opens none of the sealed values in Redis (2); "
    not_set = "botapi: BOTAPI_SECRET_KEY: it is not set, and Redis holds sealed values (2); "
    with service_env(1, in_redis=0, settings=QUICK) as w:
        wire, config = raw(w), w.service.config_file

        def stored() -> list[dict[str, str]]:
            return [wire.hgetall(f"botapi:{name}") for name in ("passwords", "sentries")]

        use_key(w, right)
        botapi(config, "add", "bot0000", typed="pw-bot0000\n", env=w.service.env)
        serve_once(w, 5)
        sealed = stored()
        assert all(one["bot0000"].startswith("sealed:v1:") for one in sealed)

        for key, line in ((wrong, opens_none), ("", not_set)):
            env = {"BOTAPI_SECRET_KEY": key} if key else {}
            for words in (["run"], ["accounts", "add", "new"], ["accounts", "login", "bot0000"]):
                code, out, err = command(config, *words, typed="pw\n", env=env)
                assert (code, out, err.count("\n")) == (2, "", 1)
                assert err.startswith(line)
                assert not [text for text in (right, wrong, "pw-bot0000") if text in err]
            assert botapi(config, "list", env=env)[0] == 0  # needs no key
        assert stored() == sealed
        assert wire.zrange("botapi:cooldowns", 0, -1) == []
        assert wire.zrange("botapi:checkouts", 0, -1) == ["bot0000"]

        for match_id, keys in ((6, f"{wrong} {right}"), (7, right)):
            use_key(w, keys)
            serve_once(w, match_id)


def test_the_private_valkey_is_no_exception(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    redis = {"url": "embedded", "data_dir": str(tmp_path / "data")}
    config.write_text(toml({"redis": redis, "http": {"port": 0}}))
    right, wrong = ({"BOTAPI_SECRET_KEY": key_of(letter)} for letter in (b"r", b"w"))
    assert botapi(config, "add", "axe", typed="pw\n", env=right)[0] == 0
    code, out, err = command(config, "run", env=wrong)
    assert (code, out) == (2, "")
    line = "botapi: BOTAPI_SECRET_KEY: it opens none of the sealed values in Redis (1); "
    assert err.splitlines()[-1].startswith(line)
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(one.info)]
    assert botapi(config, "add", "bane", typed="pw\n", env=right)[0] == 0


def test_what_this_instance_cannot_decrypt_is_left_to_others_and_logged_once(
    raw: Callable[[ServiceEnv], Any],
) -> None:
    """It cannot check at startup, as Redis is away. No account is blamed (P14)."""
    with service_env(3, settings=QUICK) as w:
        wire, config = raw(w), w.service.config_file
        use_key(w, key_of(b"w"))
        wire.delete("botapi:sentries")
        for n in range(3):
            right = {"BOTAPI_SECRET_KEY": key_of(b"r")}
            botapi(config, "add", f"bot000{n}", typed=f"pw-bot000{n}\n", env=right)
        w.valkey.stop()
        w.service.start()
        w.valkey.start()
        wait_until(lambda: said(w, "account_unusable_here"), "the key said to be wrong")
        wait_until(lambda: set(w.scores().values()) == {0}, "all free")
        tried = [
            one["account"]
            for one in w.service.events("bot_state_changed")
            if one["state_to"] == "connecting"
        ]
        assert len(tried) == len(set(tried))
        assert len(list(w.service.events("account_unusable_here"))) == 1
        assert (
            "BOTAPI_SECRET_KEY" in next(iter(w.service.events("account_unusable_here")))["reason"]
        )
        assert not list(w.service.events("account_needs_human"))
        assert wire.zrange("botapi:cooldowns", 0, -1) == []

        use_key(w, key_of(b"r"))  # no cooldown is in the way of the right key
        w.service.start()
        w.service.wait_ready(3)


def test_accounts_under_several_keys_are_used_if_the_instance_has_their_key(
    raw: Callable[[ServiceEnv], Any],
) -> None:
    with service_env(2, settings=QUICK) as w:
        wire, config = raw(w), w.service.config_file
        foreign = {"BOTAPI_SECRET_KEY": key_of(b"x")}
        w.service.stop()
        botapi(config, "add", "bot0000", typed="pw-bot0000\n", env=foreign)
        sealed = Encryption([b"r" * 32]).encrypt("password", "bot0001", "pw-bot0001")
        wire.hset("botapi:passwords", "bot0001", sealed)
        wire.delete("botapi:sentries")
        use_key(w, key_of(b"r"))
        w.service.start()
        w.service.wait_ready(1)
        wait_until(lambda: said(w, "account_unusable_here"), "the foreign one")
        assert wire.zrange("botapi:cooldowns", 0, -1) == []
        wait_until(lambda: w.scores() == {"bot0000": 0, "bot0001": 1}, "only its own in use")


def use_key(w: ServiceEnv, key: str) -> None:
    w.service.stop()
    w.service.env = {"BOTAPI_SECRET_KEY": key}


def serve_once(w: ServiceEnv, match_id: int) -> None:
    w.service.start()
    w.service.wait_ready(1)
    assert w.service.get(f"/match-details?match_id={match_id}")[0] == 200
    w.service.stop()
