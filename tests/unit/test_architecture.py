"""Imports point one way; and each rule that says so can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from import_rules import read_modules, violations

ROOT = Path(__file__).parents[2]


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_programs_arrows_all_point_down() -> None:
    assert violations(ROOT) == []


def test_the_whole_program_is_looked_at() -> None:
    names = {module.name for module in read_modules(ROOT)}
    assert {"supervisor.supervisor", "actors.steam.port", "actors.http", "sandbox"} <= names


ALLOWED = {
    "supervisor/__init__.py": "",
    "supervisor/tree.py": "from actors.bot import Bot\nfrom supervisor.supervisor import S\n",
    "supervisor/supervisor.py": "import asyncio\nboth = robot = 'bottle'\n",
    "supervisor/clock.py": "import time\n",
    "supervisor/network.py": "import sandbox\n",
    "actors/bot.py": "from actors.steam import port\nfrom actors.accounts.store import Store\n",
    "actors/clock.py": "",
    "actors/steam/__init__.py": "",
    "actors/steam/port.py": "from actors.clock import Clock\n",
    "actors/steam/hub.py": "import gevent\nfrom gevent.event import Event\nfrom . import port\n",
    "actors/accounts/store.py": "from actors.steam.port import Lease\n",
    "sandbox/__init__.py": "import time\nfrom steam.protobufs import x\n",
    "tests/test_x.py": "import gevent, actors.bot, supervisor.tree\n",
    "bench/x.py": "import gevent\n",
}


def test_what_is_allowed_is_not_complained_about(tmp_path: Path) -> None:
    assert violations(tree(tmp_path, ALLOWED)) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("actors/router.py", "import gevent", "actors.router imports gevent: gevent stays"),
        (
            "actors/router.py",
            "def f():\n  from gevent import sleep",
            "imports gevent: gevent stays",
        ),
        ("actors/router.py", "from steam.client import C", "imports steam.client: gevent stays"),
        ("sandbox/cm.py", "import gevent.socket", "sandbox.cm imports gevent.socket"),
        ("sandbox/cm.py", "from actors import errors", "the sandbox knows nothing"),
        ("sandbox/cm.py", "import supervisor.clock", "the sandbox knows nothing"),
        ("supervisor/watch.py", "from actors.bot import Bot", "only tree and cli see both"),
        (
            "supervisor/watch.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import actors.bot",
            "supervisor.watch imports actors.bot: only tree and cli",
        ),
        ("actors/router.py", "from supervisor import clock", "does not know who supervises it"),
        ("actors/http/app.py", "from supervisor.clock import C", "does not know who supervises"),
        ("actors/router.py", "import sandbox", "does not know who supervises it"),
        ("actors/steam/link.py", "from actors import bot", "actors.steam.link imports actors.bot"),
        ("actors/steam/link.py", "from ..bot import Bot", "actors.bot: the arrow points up"),
        ("actors/accounts/x.py", "from actors.messages import M", "the arrow points up"),
        ("actors/matches/x.py", "from actors.http.errors import E", "the arrow points up"),
        ("actors/matches/x.py", "from actors.router import Router", "the arrow points up"),
        ("actors/router.py", "from tests.fake_clock import F", "imports tests.fake_clock"),
        ("sandbox/cm.py", "import bench", "sandbox.cm imports bench: nothing that ships"),
        ("actors/router.py", "import time", "only supervisor.clock reads the system's time"),
        ("supervisor/tree.py", "from time import monotonic", "only supervisor.clock reads"),
        ("actors/clock.py", "import actors.steam.port", "import cycle: "),
        ("actors/steam/port.py", "from .hub import Hub", "import cycle: "),
        ("supervisor/supervisor.py", "bot_id = 1", 'supervisor.supervisor says "bot"'),
        ("supervisor/restart.py", "class BotSpec: pass", 'supervisor.restart says "bot"'),
        ("supervisor/child.py", "_BOTS = ()", 'supervisor.child says "bot"'),
        ("supervisor/ward.py", '"""Keeps bots alive."""', 'supervisor.ward says "bot"'),
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
