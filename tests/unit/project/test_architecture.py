"""The import rules hold for the program, and each of them can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.import_rules import read_modules, violations

ROOT = Path(__file__).parents[3]


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_program_keeps_the_import_rules() -> None:
    assert violations(ROOT) == []


def test_the_whole_program_is_looked_at() -> None:
    names = {module.name for module in read_modules(ROOT)}
    assert {"supervisor.supervisor", "actors.steam.port", "actors.http", "sandbox"} <= names


ALLOWED = {
    "supervisor/__init__.py": "",
    "supervisor/__main__.py": "from supervisor.cli.main import main\n",
    "supervisor/app/tree.py": "from actors.bot.bot import Bot\nfrom supervisor.supervisor import S\n",
    "supervisor/app/startup.py": "import sandbox\nfrom supervisor.config import load\n",
    "supervisor/cli/main.py": "from supervisor.app import tree\nfrom supervisor.logs import setup\n",
    "supervisor/config/load.py": "",
    "supervisor/logs/setup.py": "from supervisor.config import load\n",
    "supervisor/supervisor.py": "import asyncio\nboth = robot = 'bottle'\n",
    "supervisor/clock.py": "import time\nfrom actors.clock import Clock\n",
    "actors/bot/bot.py": "from actors.steam import port\nfrom actors.accounts.store import Store\n",
    "actors/bot/__init__.py": "",
    "actors/clock.py": "",
    "actors/metrics.py": "import prometheus_client\n",
    "actors/redis/client.py": "from redis.asyncio import Redis\n",
    "actors/steam/__init__.py": "",
    "actors/steam/port.py": "from actors.clock import Clock\n",
    "actors/steam/hub.py": "import gevent\nfrom gevent.event import Event\nfrom . import port\n",
    "actors/accounts/store.py": "import redis\nfrom actors.steam.port import Lease\n",
    "actors/matches/protobuf/schema.py": "from dota2.protobufs import x\n",
    "sandbox/__init__.py": "import time\nfrom steam.protobufs import x\n",
    "tests/test_x.py": "import gevent, actors.bot, supervisor.app.tree\n",
    "bench/x.py": "import gevent\n",
}


def test_what_is_allowed_is_not_complained_about(tmp_path: Path) -> None:
    assert violations(tree(tmp_path, ALLOWED)) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        (
            "actors/router/router.py",
            "import gevent",
            "actors.router.router imports gevent: gevent stays",
        ),
        (
            "actors/router/router.py",
            "def f():\n  from gevent import sleep",
            "imports gevent: gevent stays",
        ),
        ("actors/bot/bot.py", "from steam.client import C", "imports steam.client: steam stays"),
        ("actors/router/router.py", "from dota2.protobufs import x", "dota2 stays in actors.steam"),
        ("actors/http/metrics.py", "import prometheus_client", "prometheus_client stays"),
        ("actors/router/router.py", "import redis", "redis stays in actors.redis"),
        (
            "supervisor/app/tree.py",
            "from redis.asyncio import Redis",
            "redis stays in actors.redis",
        ),
        (
            "sandbox/network/cm.py",
            "import gevent.socket",
            "sandbox.network.cm imports gevent.socket",
        ),
        (
            "sandbox/network/cm.py",
            "from actors import errors",
            "the sandbox is a program of its own",
        ),
        ("sandbox/network/cm.py", "import supervisor.clock", "the sandbox is a program of its own"),
        (
            "supervisor/config/load.py",
            "from actors.bot import Bot",
            "only app and cli import actors",
        ),
        (
            "supervisor/config/load.py",
            "from actors.clock import Clock",
            "only app and cli import actors",
        ),
        (
            "supervisor/config/load.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import actors.bot",
            "supervisor.config.load imports actors.bot: only app and cli",
        ),
        (
            "supervisor/supervisor.py",
            "from actors.errors import E",
            "only app and cli import actors",
        ),
        ("supervisor/supervisor.py", "from supervisor.config import load", "stands to its right"),
        (
            "supervisor/config/load.py",
            "from supervisor.logs import redaction",
            "stands to its right",
        ),
        ("supervisor/logs/output.py", "from supervisor.app import run", "stands to its right"),
        ("supervisor/app/run.py", "from supervisor.cli import terminal", "stands to its right"),
        ("actors/router/router.py", "from supervisor import clock", "actors imports neither"),
        ("actors/http/server.py", "from supervisor.clock import C", "actors imports neither"),
        ("actors/router/router.py", "import sandbox", "actors imports neither"),
        ("actors/clock.py", "from actors.redis.client import connect", "stands to its right"),
        ("actors/steam/link.py", "from actors import bot", "actors.steam.link imports actors.bot"),
        ("actors/steam/link.py", "from ..bot import Bot", "actors.bot: it stands to its right"),
        (
            "actors/redis/client.py",
            "import redis\nfrom actors.steam import port",
            "stands to its right",
        ),
        ("actors/accounts/x.py", "from actors.egress.x import E", "stands to its right"),
        ("actors/egress/x.py", "from actors.accounts.store import S", "stands to its right"),
        ("actors/matches/x.py", "from actors.bot.messages import M", "stands to its right"),
        ("actors/dashboard/x.py", "from actors.http.errors import E", "stands to its right"),
        ("actors/router/router.py", "from tests.fake_clock import F", "imports tests.fake_clock"),
        (
            "sandbox/network/cm.py",
            "import bench",
            "sandbox.network.cm imports bench: nothing that ships",
        ),
        ("actors/router/router.py", "import time", "time stays in supervisor.clock"),
        ("supervisor/app/tree.py", "from time import monotonic", "time stays in supervisor.clock"),
        ("actors/steam/port.py", "from .hub import Hub", "import cycle: "),
        ("supervisor/supervisor.py", "bot_id = 1", 'supervisor.supervisor says "bot"'),
        ("supervisor/restart.py", "class BotSpec: pass", 'supervisor.restart says "bot"'),
        ("supervisor/child.py", "_BOTS = ()", 'supervisor.child says "bot"'),
        (
            "supervisor/child_runner.py",
            '"""Keeps bots alive."""',
            'supervisor.child_runner says "bot"',
        ),
    ],
)
def test_what_is_not_allowed_is_found(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    found = violations(tree(tmp_path, ALLOWED | {file: text}))
    assert len(found) == 1
    assert complaint in found[0]


def test_a_cycle_is_told_as_a_way_round(tmp_path: Path) -> None:
    files = {
        "actors/a.py": "import actors.b\n",
        "actors/b.py": "from actors.c import x\n",
        "actors/c.py": "from actors import a\n",
    }
    (found,) = violations(tree(tmp_path, files))
    way = found.removeprefix("import cycle: ").split(" -> ")
    importer = way.index("actors.a")
    assert [*way, *way[1:]][importer : importer + 3] == ["actors.a", "actors.b", "actors.c"]
    assert way[0] == way[-1]
