"""The API, tested by schemathesis (all its checks) and by httpie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.quick_service import quick_world

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

TOKEN = "an-admin-token-of-some-length"
EXAMPLES = os.environ.get("SCHEMA_EXAMPLES", "15")  # for each operation
SEED = os.environ.get("SCHEMA_SEED", "1")
HOOKS = Path(__file__).parents[1] / "support" / "schemathesis_hooks.py"


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    token_file: Path = tmp_path_factory.mktemp("admin") / "token"
    token_file.write_text(TOKEN)
    with quick_world(4, settings={"http": {"admin_token_file": str(token_file)}}) as running:
        yield running


def run(folder: Path, module: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)  # takes about ten seconds on an idle machine
def test_the_api_is_as_it_describes_itself(w: ServiceEnv, tmp_path: Path) -> None:
    tried = run(
        tmp_path,
        "schemathesis.cli",
        "run",
        f"{w.service.url}/openapi.json",
        *("--checks", "all", "--continue-on-failure"),
        *("--max-examples", EXAMPLES, "--seed", SEED, "--generation-database", "none"),
        *("--max-redirects", "0", "--no-color"),
        *("--exclude-path", "/admin/fleet/drain"),  # a drained fleet answers nothing
        *("--header", f"Authorization: Bearer {TOKEN}"),
        SCHEMATHESIS_HOOKS=str(HOOKS),
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "Tested: 24" in tried.stdout
    assert not list(w.service.events("request_crashed"))


def test_the_first_botapis_example_works_as_it_was_typed(w: ServiceEnv, tmp_path: Path) -> None:
    """`http get HOST:5000/match-details match_id==2417912704`, into a pipe."""
    address = w.service.url.removeprefix("http://")
    typed = ("get", f"{address}/match-details", "match_id==2417912704")
    asked = run(tmp_path, "httpie", "--ignore-stdin", *typed, HTTPIE_CONFIG_DIR=str(tmp_path))
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["id"] == 2417912704
