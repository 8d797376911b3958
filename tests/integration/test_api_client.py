"""Errors of the HTTP client for any server at the address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from supervisor.cli.client import ApiClient, ApiRefused, ApiUnreachable, Service

pytestmark = pytest.mark.integration


async def echo(request: web.Request) -> web.Response:
    told = {"method": request.method, "query": dict(request.query), "body": await request.text()}
    return web.json_response({**told, "key": request.headers.get("Authorization")})


async def refuse(_: web.Request) -> web.Response:
    refusal = {"error": "busy", "message": "too many", "retry_after": 3}
    return web.json_response(refusal, status=503)


async def page(request: web.Request) -> web.Response:
    return web.Response(text="<html>", status=int(request.query["status"]))


async def silence(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    raise AssertionError


async def cut(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "100"})
    await answer.prepare(request)
    await answer.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return answer


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in (
        ("/echo", echo),
        ("/refuse", refuse),
        ("/page", page),
        ("/silence", silence),
        ("/cut", cut),
    ):
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(url: str, path: str, **query: Any) -> Any:
    async with ApiClient(Service(url), timeout_s=5) as api:
        return await api.get(path, **query)


async def test_questions_and_orders_reach_the_service(url: str) -> None:
    async with ApiClient(Service(url, "sesame"), timeout_s=5) as api:
        got = await api.get("/echo", match_id=5)
        assert got == {
            "method": "GET",
            "query": {"match_id": "5"},
            "body": "",
            "key": "Bearer sesame",
        }
        assert (await api.call("POST", "/echo", body={"count": 3}))["body"] == '{"count":3}'
        assert (await api.call("POST", "/echo"))["body"] == ""
        assert (await api.call("DELETE", "/echo"))["method"] == "DELETE"


async def test_a_refusal_has_all_that_the_service_said(url: str) -> None:
    with pytest.raises(ApiRefused, match="too many") as caught:
        await asked(url, "/refuse")
    refused = caught.value
    assert (refused.status, refused.word, refused.retry_after) == (503, "busy", 3)


@pytest.mark.parametrize("status", [200, 404, 502])
async def test_something_else_at_the_address_is_told(url: str, status: int) -> None:
    with pytest.raises(ApiRefused, match="not a BotAPI") as caught:
        await asked(url, "/page", status=status)
    assert caught.value.status == status


async def test_a_connection_that_breaks_is_no_answer(url: str) -> None:
    with pytest.raises(ApiUnreachable, match="the connection broke"):
        await asked(url, "/cut")


async def test_no_answer_in_time_is_none(url: str) -> None:
    async with ApiClient(Service(url), timeout_s=0.2) as api:
        with pytest.raises(ApiUnreachable, match="takes too long"):
            await api.get("/silence")


async def test_a_refused_connection_is_reported_without_a_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and not listened on
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ApiUnreachable) as caught:
            await asked(f"http://me:hunter2@{address}", "/echo")
    assert str(caught.value) == f"no answer from http://***@{address}: connection refused"


def test_a_key_is_not_in_the_text_of_a_service() -> None:
    assert "sesame" not in repr(Service("http://h", "sesame"))
