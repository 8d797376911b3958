"""Sign-in to the page, and the session cookie."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from support.operator_client import TOKEN, with_token
from yarl import URL

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration

OWN = {"X-BotAPI-Page": "1"}


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    settings = with_token(tmp_path_factory.mktemp("admin"))
    with service_env(1, accounts=simple_accounts(1), settings=settings) as running:
        yield running


def browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))  # unsafe: of an IP


async def sign_in(
    client: aiohttp.ClientSession, w: ServiceEnv, token: str = TOKEN, **headers: str
) -> aiohttp.ClientResponse:
    url = f"{w.service.url}/session"
    return await client.post(url, json={"token": token}, headers={**OWN, **headers})


async def state(client: aiohttp.ClientSession, w: ServiceEnv) -> Any:
    async with client.get(f"{w.service.url}/session") as answer:
        return (await answer.json())["state"]


async def park(
    client: aiohttp.ClientSession, w: ServiceEnv, **headers: str
) -> tuple[int, str | None]:
    """Send a change without effect: the bot does not exist."""
    url = f"{w.service.url}/admin/bots/bot-99/park"
    async with client.post(url, headers=headers) as answer:
        return answer.status, (await answer.json()).get("error")


async def test_the_token_begins_a_session_and_signing_out_ends_it(w: ServiceEnv) -> None:
    async with browser() as client:
        assert await state(client, w) == "signed-out"
        answer = await sign_in(client, w)
        assert (await answer.json())["state"] == "signed-in"
        assert (await answer.json())["ends_in"] <= 3600
        assert await state(client, w) == "signed-in"
        assert await park(client, w, **OWN) == (404, "not-found")
        async with client.get(f"{w.service.url}/admin/accounts") as listed:
            assert listed.status == 200

        kept = {one.key: one.value for one in client.cookie_jar}
        async with client.delete(f"{w.service.url}/session", headers=OWN) as answer:
            assert (await answer.json())["state"] == "signed-out"
        assert await state(client, w) == "signed-out"
    async with browser() as thief:  # a copy of the cookie is no longer valid
        thief.cookie_jar.update_cookies(kept, URL(w.service.url))
        assert await state(thief, w) == "signed-out"


async def test_the_cookie_is_for_our_page_alone(w: ServiceEnv) -> None:
    async with browser() as client:
        cookie = (await sign_in(client, w)).headers["Set-Cookie"]
        for flag in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="):
            assert flag in cookie
        assert "Secure" not in cookie  # this is plain HTTP on loopback
        assert TOKEN not in cookie
        behind_tls = await sign_in(client, w, **{"X-Forwarded-Proto": "https"})
        assert "Secure" in behind_tls.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "a wrong token of some length", TOKEN[:-1], TOKEN + "x"])
async def test_nothing_else_begins_one(w: ServiceEnv, token: str) -> None:
    async with browser() as client:
        answer = await sign_in(client, w, token)
        assert answer.status == 401
        assert "Set-Cookie" not in answer.headers
        assert await park(client, w, **OWN) == (401, "unauthorized")
    tried = list(w.service.events("admin_action"))[-2]
    assert (tried["action"], tried["outcome"]) == ("POST /session", "unauthorized")
    assert TOKEN not in w.service.log


async def test_another_site_cannot_use_the_session(w: ServiceEnv) -> None:
    async with browser() as client:
        await sign_in(client, w)
        here = w.service.url
        assert await park(client, w) == (403, "foreign-page")  # as a form on another site would
        assert await park(client, w, Origin="http://evil.example") == (403, "foreign-page")
        assert await park(client, w, **OWN, Origin="http://[") == (403, "foreign-page")
        evil = {**OWN, "Origin": "http://evil.example"}
        assert await park(client, w, **evil) == (403, "foreign-page")
        other_port = {**OWN, "Origin": "http://127.0.0.1:1"}
        assert await park(client, w, **other_port) == (403, "foreign-page")
        assert await park(client, w, **OWN, Origin=here) == (404, "not-found")
        foreign = await sign_in(client, w, Origin="http://evil.example")
        assert foreign.status == 403
        async with client.delete(f"{here}/session") as answer:  # nor sign the operator out
            assert answer.status == 403
        assert await state(client, w) == "signed-in"


async def test_a_stream_ends_with_its_session(w: ServiceEnv) -> None:
    async with browser() as client:
        await sign_in(client, w)
        async with client.get(f"{w.service.url}/events") as stream:
            assert stream.status == 200
            await stream.content.readuntil(b"\n\n")
            async with client.delete(f"{w.service.url}/session", headers=OWN):
                pass
            async with asyncio.timeout(30):  # with the next event or sign of life
                while not stream.content.at_eof():
                    await stream.content.readany()


async def test_every_client_gets_the_page_and_it_loads_nothing_foreign(w: ServiceEnv) -> None:
    async with browser() as client:
        async with client.get(f"{w.service.url}/") as page:
            assert page.status == 200
            policy = page.headers["Content-Security-Policy"]
            etag = page.headers["ETag"]
            text = await page.text()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        for forbidden in ("style=", "onclick", "<style", "http://", "https://"):
            assert forbidden not in text
        async with client.get(f"{w.service.url}/", headers={"If-None-Match": etag}) as again:
            assert again.status == 304
            assert again.headers["Content-Security-Policy"] == policy
        for path in ("/page/nothing.js", "/page/..%2f__init__.py", "/page/__init__.py"):
            async with client.get(w.service.url + path) as answer:
                assert answer.status == 404


@pytest.mark.parametrize("path", ["/status", "/admin/accounts", "/admin/none", "/match-details"])
async def test_no_cache_keeps_what_a_session_opened(w: ServiceEnv, path: str) -> None:
    async with browser() as client:
        async with client.get(f"{w.service.url}/status") as answer:
            assert "Cache-Control" not in answer.headers
        await sign_in(client, w)
        async with client.get(w.service.url + path) as answer:
            assert answer.headers["Cache-Control"] == "no-store"


async def test_the_line_about_an_action_holds_no_control_character_and_has_an_end(
    w: ServiceEnv,
) -> None:
    url = URL(f"{w.service.url}/admin/bots/%1b[31m%C2%9B{'x' * 500}/park", encoded=True)
    async with browser() as client, client.post(url) as answer:
        assert answer.status == 401
    target = list(w.service.events("admin_action"))[-1]["target"]
    assert target.startswith("\\x1b[31m\\x9bxx")
    assert len(target) < 250
