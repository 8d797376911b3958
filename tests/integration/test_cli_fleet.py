"""`botapi bots` and `botapi fleet` on a running service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Said, botapi
from support.operator_client import with_token

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    """A service with a generated admin token."""
    with service_env(2, accounts=simple_accounts(4)) as running:
        running.service.wait_ready(2)
        yield running


def ask(w: ServiceEnv, *words: str) -> Said:
    config = w.service.config_file
    env = {"BOTAPI_URL": w.service.url, "BOTAPI_CONFIG": str(config)}
    return botapi(*words, cwd=config.parent, env=env)


def states(w: ServiceEnv) -> list[str]:
    return sorted(bot["state"] for bot in w.service.status()["fleet"])


def test_a_bot_is_parked_and_comes_back(w: ServiceEnv) -> None:
    said = ask(w, "bots", "park", "bot-2", "--wait")
    assert (said.code, said.out, said.err) == (0, "2 bots, parked: bot-2\n", "")
    assert states(w) == ["parked", "ready"]
    assert ask(w, "bots", "unpark", "bot-2").code == 0
    w.service.wait_ready(2)
    assert ask(w, "bots", "restart", "bot-1", "--wait").code == 0
    w.service.wait_ready(2)


def test_the_fleet_is_scaled_drained_and_resumed(w: ServiceEnv) -> None:
    assert ask(w, "fleet", "scale", "3").out.startswith("3 bots, 2 by the settings")
    w.service.wait_ready(3)
    said = ask(w, "fleet", "drain", "--wait", "--json")
    plan = json.loads(said.out)
    assert (plan["drained"], plan["leaving"]) == (True, [])
    assert states(w) == ["parked"] * 3
    assert set(w.scores().values()) == {0}
    assert "drained" in ask(w, "fleet", "show").out
    assert ask(w, "fleet", "resume").code == 0
    w.service.wait_ready(3)
    assert ask(w, "fleet", "scale", "2", "--wait").out == "2 bots\n"
    assert len(w.service.status()["fleet"]) == 2


def test_what_is_refused_is_one_line_and_a_code(w: ServiceEnv, tmp_path: Path) -> None:
    said = ask(w, "bots", "park", "bot-9")
    assert (said.code, said.err) == (3, "botapi: there is no bot bot-9\n")
    assert ask(w, "fleet", "scale", "1001").code == 2
    wrong = with_token(tmp_path)["http"]["admin_token_file"]
    said = ask(w, "fleet", "show", "--token-file", wrong)
    assert said.code == 2
    assert said.err.startswith("botapi: show the admin token")
    said = ask(w, "fleet", "show", "--token-file", str(tmp_path / "nothing"))
    assert said.code == 2
    assert said.err.count("\n") == 1
