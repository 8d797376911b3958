"""`botapi status --watch` on a terminal, with a fake service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.command import COMMAND, WITHIN_S, botapi, environment, on_terminal

pytestmark = pytest.mark.integration

NOW = 1_700_000_000.0


def bot(number: int, state: str, error: str | None = None) -> dict[str, Any]:
    return {
        "bot_id": f"bot-{number}",
        "state": state,
        "since": NOW,
        "account": f"account{number}",
        "restarts": 0,
        "last_error": error,
        "next_try_at": None,
    }


class Service:
    """Answers /status with `status`; `seen` has the Authorization headers of the requests."""

    def __init__(self) -> None:
        self.fleet = [bot(1, "ready"), bot(2, "ready")]
        self.status = 200
        self.seen: list[str | None] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def up(self) -> None:
        app = web.Application()
        app.router.add_get("/status", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization"))
        if self.status != 200:
            refusal = {"error": "no", "message": "not you", "retry_after": None}
            return web.json_response(refusal, status=self.status)
        counts: dict[str, int] = {}
        for one in self.fleet:
            counts[one["state"]] = counts.get(one["state"], 0) + 1
        bots = {"count": len(self.fleet), **counts}
        told = {"alerts": self.alerts, "fleet": self.fleet}
        return web.json_response({"version": "9.9.9", "bots": bots, **told})

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The first alert: accounts that need an operator, or the number of ready bots."""
        needy = [bot for bot in self.fleet if bot["state"] == "needs_human"]
        text = f"well: {len(self.fleet)} of {len(self.fleet)} bots are ready"
        if needy:
            text = f"{needy[0]['account']} needs {needy[0]['last_error']}"
        return [{"severity": "act" if needy else "well", "kind": "x", "text": text}]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    one = Service()
    await one.up()
    try:
        yield one
    finally:
        await one.down()


async def test_it_shows_what_changes_and_loses_and_finds_the_service_again(
    service: Service, tmp_path: Path
) -> None:
    with on_terminal("status", "-w", "--url", service.url, cwd=tmp_path) as terminal:
        await asyncio.to_thread(terminal.wait_for, "well: 2 of 2 bots are ready")
        service.fleet[1] = bot(2, "needs_human", "a Steam Guard code")
        text = await asyncio.to_thread(terminal.wait_for, "a Steam Guard code")
        assert "needs a Steam Guard code" in text
        await service.down()
        text = await asyncio.to_thread(terminal.wait_for, "no answer for")
        assert "connection refused; still trying" in await asyncio.to_thread(
            terminal.wait_for, "q ends"
        )
        service.fleet = [bot(1, "ready")]
        await service.up()
        await asyncio.to_thread(terminal.wait_for, "well: 1 of 1 bots are ready")
        terminal.press("q")
        assert await asyncio.to_thread(terminal.ended) == 0
    assert terminal.seen.count("\x1b[?1049h") == terminal.seen.count("\x1b[?1049l") == 1
    assert "\x1b[?25h" in terminal.seen  # the cursor is back


async def test_it_never_wipes_the_screen_between_two_frames(
    service: Service, tmp_path: Path
) -> None:
    with on_terminal("status", "-w", "--url", service.url, cwd=tmp_path) as terminal:
        for number in range(3, 6):
            service.fleet.append(bot(number, "ready"))
            await asyncio.to_thread(terminal.wait_for, f"well: {number} of {number}")
        terminal.press("q")
        await asyncio.to_thread(terminal.ended)
    assert "\x1b[2J" not in terminal.seen
    assert terminal.seen.count("\x1b[H") > 3


async def test_it_follows_the_size_of_the_window(service: Service, tmp_path: Path) -> None:
    service.fleet = [bot(number, "ready") for number in range(1, 101)]
    with on_terminal("status", "-w", "--url", service.url, cwd=tmp_path) as terminal:
        await asyncio.to_thread(terminal.wait_for, "and 84 more")  # 24 lines
        terminal.resize(40, 100)
        await asyncio.to_thread(terminal.wait_for, "and 68 more")
        terminal.press("q")
        assert await asyncio.to_thread(terminal.ended) == 0


async def test_ctrl_c_ends_it_well_and_leaves_the_terminal_as_it_was(
    service: Service, tmp_path: Path
) -> None:
    with on_terminal("status", "--watch", "--url", service.url, cwd=tmp_path) as terminal:
        await asyncio.to_thread(terminal.wait_for, "well:")
        assert not terminal.echoes
        terminal.press("\x03")
        assert await asyncio.to_thread(terminal.ended) == 0
        assert terminal.echoes


async def test_a_refusal_ends_it(service: Service, tmp_path: Path) -> None:
    service.status = 401
    with on_terminal("status", "-w", "--url", service.url, cwd=tmp_path) as terminal:
        await asyncio.to_thread(terminal.wait_for, "botapi: not you")
        assert await asyncio.to_thread(terminal.ended) == 2


async def test_the_key_goes_to_the_service(service: Service, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sesame\n")
    for env, words in (
        ({"BOTAPI_API_KEY": "sesame"}, ()),
        ({"BOTAPI_API_KEY_FILE": "key"}, ()),
        ({"BOTAPI_API_KEY": "another"}, ("--key-file", "key")),
    ):
        said = await asyncio.to_thread(
            botapi, "status", "--url", service.url, *words, cwd=tmp_path, env=env
        )
        assert said.code == 0
    assert service.seen == ["Bearer sesame"] * 3


async def test_in_a_pipe_it_wants_json(service: Service, tmp_path: Path) -> None:
    said = await asyncio.to_thread(botapi, "status", "--watch", "--url", service.url, cwd=tmp_path)
    assert said.code == 2
    assert "--json" in said.err


async def test_json_is_a_line_a_second_until_ctrl_c(service: Service, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("status", "--watch", "--json", "--url", service.url),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
        await service.down()
        while "error" not in lines[-1]:
            lines.append(json.loads(await process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    assert lines[0]["version"] == "9.9.9"
    assert lines[-1] == {"error": "connection refused"}


async def test_json_ends_when_its_reader_is_gone(service: Service, tmp_path: Path) -> None:
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("status", "--watch", "--json", "--url", service.url),
        cwd=tmp_path,
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    await asyncio.to_thread(os.read, read, 65536)
    os.close(read)
    async with asyncio.timeout(WITHIN_S):
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
