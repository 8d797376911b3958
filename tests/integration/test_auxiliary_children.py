"""An auxiliary child that always fails is parked: the service answers without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from support.exposition import Exposition
from support.scripted_child import capturing_log

from actors.bot.steam_guard import SteamGuard
from actors.dashboard.dashboard import Dashboard
from actors.router.players import Players
from actors.router.router import Router
from bench.env import seed_accounts, service_settings, simple_accounts
from bench.sandbox_process import SandboxProcess
from bench.service_process import toml
from bench.valkey import FORGETFUL, own_valkey
from supervisor.app.file_watch import FileWatch
from supervisor.app.load_settings import load
from supervisor.app.tree import Tree, open_tree
from supervisor.child_runner import ChildGaveUp

pytestmark = pytest.mark.integration

AUXILIARY = {
    "dashboard": Dashboard,
    "players": Players,
    "steam_guard": SteamGuard,
    "config": FileWatch,
}
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield settings of a service whose Valkey and sandbox run."""
    folder = tmp_path_factory.mktemp("service")
    accounts = simple_accounts(1)
    with own_valkey(FORGETFUL) as valkey, SandboxProcess(accounts) as sandbox:
        url = f"redis://127.0.0.1:{valkey.port}/0"
        seed_accounts(url, accounts)
        settings = service_settings(1, sandbox, url)
        settings["http"]["port"] = 0
        settings["redis"]["data_dir"] = str(folder / "data")
        file = folder / "config.toml"
        file.write_text(toml(settings))
        yield file


async def fail(_self: object) -> None:
    raise RuntimeError("it does not work")


@pytest.mark.parametrize("name", AUXILIARY)
async def test_an_auxiliary_child_that_always_fails_is_parked_and_no_other_is_touched(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(AUXILIARY[name], "run", fail)
    log, events = capturing_log()
    async with open_tree(load(config_file), log=log) as tree, aiohttp.ClientSession() as http:
        running = await started(tree)
        async with asyncio.timeout(WITHIN_S):
            while not any(
                event.get("child_id") == name and event.get("decision") == "ParkFor"
                for event in events
            ):
                assert not running.done()
                await asyncio.sleep(0.05)
        url = next(
            f"http://127.0.0.1:{event['port']}"
            for event in events
            if event["event"] == "http_listening"
        )
        async with asyncio.timeout(WITHIN_S):
            while (await http.get(f"{url}/readyz")).status != 200:  # noqa: ASYNC110 - HTTP has no event
                await asyncio.sleep(0.05)
        answer = await http.get(f"{url}/match-details?match_id=7490235544")
        assert answer.status == 200
        shown = Exposition(await (await http.get(f"{url}/metrics")).text())
        assert shown.values("botapi_child_up", "child")[name] == 0
        tree.root.stop()
        await running


async def test_the_router_is_not_auxiliary(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Router, "run", fail)
    log, _ = capturing_log()
    async with open_tree(load(config_file), log=log) as tree, asyncio.timeout(WITHIN_S):
        with pytest.raises(ChildGaveUp, match="router"):
            await (await started(tree))


async def started(tree: Tree) -> asyncio.Task[None]:
    await tree.root.start()
    return asyncio.create_task(tree.root.run())
