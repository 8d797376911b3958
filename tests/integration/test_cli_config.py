"""The `botapi` command as a process: output, one-line errors, exit codes."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

HEAVY = ("gevent", "steam", "dota2", "redis", "aiohttp", "google.protobuf")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


def botapi(
    here: Path, *args: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in `here`, without BotAPI variables except `env`."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BOTAPI_") and name not in {"REDISTOGO_URL", "PORT"}
    }
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *args],
        cwd=here,
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], line: str) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"botapi: {line}\n")


def test_check_is_content_without_a_file(here: Path) -> None:
    done = botapi(here, "config", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "defaults" in done.stdout


def test_check_names_the_file_it_read(here: Path) -> None:
    (here / "mine.toml").write_text("[bots]\ncount = 3\n")
    assert botapi(here, "config", "check", "--config", "mine.toml").stdout == "mine.toml: ok\n"
    assert botapi(here, "config", "check", env={"BOTAPI_CONFIG": "mine.toml"}).returncode == 0


@pytest.mark.parametrize("command", [("config", "check"), ("config", "show"), ("run",)])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[bots]\ncuont = 1", "config.toml: unknown key bots.cuont; did you mean bots.count?"),
        (
            '[bots]\ncount = "five"',
            'config.toml: bots.count must be a whole number from 1 to 1000, not "five"',
        ),
        (
            "[http]\nport = 70000",
            "config.toml: http.port must be a whole number from 0 to 65535, not 70000",
        ),
    ],
)
def test_a_bad_file_is_one_line_and_exit_code_2(
    here: Path, command: tuple[str, ...], text: str, line: str
) -> None:
    (here / "config.toml").write_text(text)
    assert_refused(botapi(here, *command), line)


def test_a_named_file_that_is_missing_is_one_line_and_exit_code_2(here: Path) -> None:
    assert_refused(botapi(here, "run", "--config", "no.toml"), "no.toml: there is no such file")


def test_a_bad_variable_is_one_line_and_exit_code_2(here: Path) -> None:
    assert_refused(
        botapi(here, "run", env={"PORT": "five"}),
        'PORT: http.port must be a whole number from 0 to 65535, not "five"',
    )


def test_a_password_in_a_bad_url_is_not_printed(here: Path) -> None:
    done = botapi(here, "run", env={"REDISTOGO_URL": "http://u:hunter2@h"})
    assert done.returncode == 2
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [["config", "check"], ["run"], ["accounts", "list"]])
def test_a_redis_url_that_no_client_takes_is_one_line_everywhere(
    here: Path, command: list[str]
) -> None:
    done = botapi(here, *command, env={"REDISTOGO_URL": "redis://h/0?timeout=5s"})
    problem = "REDISTOGO_URL: redis.url has an option 'timeout' that cannot be used"
    assert_refused(done, problem)


def test_a_redis_variable_that_is_not_read_is_said(here: Path) -> None:
    env = {"REDIS_URL": "redis://u:hunter2@h", "BOTAPI_REDIS__DATA_DIR": str(here / "data")}
    done = botapi(here, "config", "check", env=env)
    assert done.returncode == 0
    assert "REDIS_URL is set, but not read" in done.stderr
    assert "hunter2" not in done.stderr
    told = json.loads(botapi(here, "config", "check", "--json", env=env).stdout)
    assert told["unread"] == ["REDIS_URL"]
    listed = botapi(here, "accounts", "list", env=env)
    assert "REDIS_URL is set, but not read" in listed.stderr


def test_an_unknown_option_is_exit_code_2(here: Path) -> None:
    done = botapi(here, "run", "--nope")
    assert done.returncode == 2
    assert "--nope" in done.stderr
    assert "Traceback" not in done.stderr


def test_show_prints_what_is_in_effect_and_why(here: Path) -> None:
    (here / "config.toml").write_text("[bots]\ncount = 3\n")
    env = {"REDISTOGO_URL": "redis://u:hunter2@h:6379/0", "BOTAPI_LOG__LEVEL": "debug"}
    shown = botapi(here, "config", "show", env=env).stdout
    values = tomllib.loads(shown)
    assert values["bots"]["count"] == 3
    assert values["redis"]["url"] == "redis://***@h:6379/0"
    in_query = {"REDISTOGO_URL": "unix:///s?db=1&password=hunter2"}
    assert "hunter2" not in botapi(here, "config", "show", env=in_query).stdout
    assert "# BOTAPI_LOG__LEVEL" in shown
    sources = json.loads(botapi(here, "config", "show", "--json", env=env).stdout)
    assert sources["bots"]["count"] == {"value": 3, "source": "config.toml"}
    assert sources["log"]["level"]["source"] == "BOTAPI_LOG__LEVEL"


def test_what_show_prints_can_be_used_as_config_toml(here: Path) -> None:
    (here / "again.toml").write_text(botapi(here, "config", "show").stdout)
    assert botapi(here, "config", "check", "--config", "again.toml").returncode == 0


def test_version_and_help_answer(here: Path) -> None:
    assert botapi(here, "--version").stdout.startswith("botapi ")
    assert "sandbox" in botapi(here, "--help").stdout
    assert "--sandbox" in botapi(here, "run", "--help").stdout


def test_config_check_loads_neither_steam_nor_redis(here: Path) -> None:
    program = (
        "import sys\n"
        "from supervisor.cli.main import main\n"
        "try:\n"
        "    main(['config', 'check'])\n"
        "except SystemExit as done:\n"
        "    assert done.code == 0, done.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=here, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


class _Health(http.server.BaseHTTPRequestHandler):
    status = HTTPStatus.OK

    def do_GET(self) -> None:
        """Answer /healthz with the status of the class, everything else with 404."""
        self.send_response(self.status if self.path == "/healthz" else HTTPStatus.NOT_FOUND)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def health_server(status: HTTPStatus) -> Iterator[int]:
    """Serve /healthz on loopback; yields the port."""
    handler = type("Health", (_Health,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "code"), [(HTTPStatus.OK, 0), (HTTPStatus.SERVICE_UNAVAILABLE, 1)]
)
def test_healthcheck_reports_what_healthz_answers(
    here: Path, status: HTTPStatus, code: int
) -> None:
    with health_server(status) as port:
        env = {
            "PORT": str(port),
            "BOTAPI_HTTP__HOST": "0.0.0.0",  # noqa: S104 - the image says so; nothing binds it
            "http_proxy": "http://127.0.0.1:1",
        }
        assert botapi(here, "healthcheck", env=env).returncode == code


def test_healthcheck_fails_where_no_service_listens(here: Path) -> None:
    with health_server(HTTPStatus.OK) as port:
        pass
    assert botapi(here, "healthcheck", env={"PORT": str(port)}).returncode == 1
