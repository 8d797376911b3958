"""If other machines reach the API, as in a container, clients without credentials see no accounts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import botapi

from bench import service_process
from bench.service_process import ServiceProcess

pytestmark = pytest.mark.integration

# Tests listen on loopback only; this service treats it as an address that other machines reach.
EXPOSED = """
import sys
from supervisor.app import startup, web
from supervisor.cli.main import main
startup.is_loopback = web.is_loopback = lambda _address: False
main(sys.argv[1:])
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceProcess]:
    (tmp_path / "exposed.py").write_text(EXPOSED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(service_process.__file__).parents[1]}")
    with ServiceProcess({}, args=("--sandbox",), module="exposed") as one:
        one.wait_ready(1)
        yield one


def get(service: ServiceProcess, path: str, token: str | None = None) -> tuple[int, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    asked = urllib.request.Request(service.url + path, headers=headers)  # noqa: S310 - ours
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - ours
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


def test_names_are_for_operators_and_the_token_is_where_the_start_says(
    service: ServiceProcess, tmp_path: Path
) -> None:
    (told,) = service.events("admin_api_on")
    token = Path(told["file"]).read_text().strip()
    for shown in (None, "not the token, but as long"):
        status, found = get(service, "/status", shown)
        assert status == 200
        assert found["bots"]["ready"] >= 1
        assert {bot["account"] for bot in found["fleet"]} == {None}
        assert get(service, "/events", shown)[0] == 401
        assert get(service, "/admin/accounts", shown)[0] == 401
    assert get(service, "/session")[1]["may_watch"] is False
    assert "abaddon" in {bot["account"] for bot in get(service, "/status", token)[1]["fleet"]}
    assert get(service, "/admin/accounts", token)[0] == 200
    port = service.url.rpartition(":")[2]
    own = {"BOTAPI_CONFIG": str(service.config_file), "PORT": port}  # as `docker compose exec` does
    assert "abaddon" in botapi("status", cwd=tmp_path, env=own).out
    stranger = {"BOTAPI_URL": service.url}
    assert "abaddon" not in botapi("status", cwd=tmp_path, env=stranger).out


def test_a_restart_says_where_the_token_is_again(service: ServiceProcess) -> None:
    service.stop()
    service.start()
    assert len(list(service.events("admin_api_on"))) == 1
    assert not list(service.events("admin_token_made"))
