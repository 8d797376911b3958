"""Web pages of other sites and a service on loopback: they spend no budget and read nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import aiohttp
import pytest
import redis
from support.quick_service import quick_world
from support.raw_http import RawConnection

from bench.env import ServiceEnv

pytestmark = pytest.mark.integration

CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def w() -> Iterator[ServiceEnv]:
    with quick_world(1) as running:
        yield running


async def post(w: ServiceEnv, ids: list[int], **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(w.service.url, headers=headers) as client,
        client.post("/match-details", data=json.dumps({"match_ids": ids})) as answer,
    ):
        return answer.status, await answer.text()


async def get(w: ServiceEnv, path: str, **headers: str) -> tuple[int, str]:
    """Return status, and the word of an error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(w.service.url, headers=named) as client,
        client.get(path) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text).get("error", "") if "error" in text else ""


def spent(w: ServiceEnv) -> int:
    """Return how many requests the accounts have spent."""
    with redis.Redis.from_url(w.redis_url) as client:
        days = list(client.scan_iter("botapi:*-api-requests"))
        return int(
            sum(count for day in days for _, count in client.zrange(day, 0, -1, withscores=True))
        )


@pytest.mark.parametrize(
    "headers",
    [
        CROSS,
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_foreign_page_spends_nothing(w: ServiceEnv, headers: dict[str, str]) -> None:
    assert (await post(w, [7200]))[0] == 200
    before = spent(w)
    assert before >= 1
    status, text = await post(
        w, list(range(7000, 7040)), **{"Content-Type": "text/plain"}, **headers
    )
    assert (status, json.loads(text)["error"]) == (403, "foreign-page")
    for path in ("/matches/7100", "/match-details?match_id=7100", "/replays/7100", "/status"):
        assert await get(w, path, **headers) == (403, "foreign-page")
    assert (await get(w, "/match/7100", **headers))[0] == 403
    assert spent(w) == before


async def test_what_programs_and_people_send_is_served(w: ServiceEnv) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # as of `curl -d`
    for headers in (form, {"Sec-Fetch-Site": "same-origin", "Origin": w.service.url}):
        status, text = await post(w, [8000, 8001], **headers)
        assert status == 200
        assert {json.loads(line)["id"] for line in text.splitlines()} == {8000, 8001}
    visit = {**CROSS, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await get(w, "/matches/8000", **visit))[0] == 200


def test_another_name_for_loopback_opens_nothing(w: ServiceEnv) -> None:
    w.service.get("/matches/8000")
    with RawConnection(w.service.url) as connection:
        for host, status in ((b"evil.example", 403), (b"localhost", 200), (b"evil.example", 403)):
            for path in (
                b"/status",
                b"/matches/8000",
                b"/match-details?match_id=8000",
                b"/metrics",
            ):
                request = b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b":5000\r\n\r\n"
                for _ in range(2):  # the second would be answered from memory
                    connection.send(request)
                    answer = connection.answer()
                    assert answer.status == status, (host, path)
                    assert status == 200 or answer.json["error"] == "foreign-host"


async def test_names_and_proxies_follow_the_settings() -> None:
    with quick_world(1) as w:
        named = {"Host": "botapi.example"}
        assert await get(w, "/matches/9", **named) == (403, "foreign-host")
        text = w.service.config_file.read_text()
        for line, others in (
            ('allowed_hosts = ["BotAPI.example"]', (403, "foreign-host")),
            ('trusted_proxies = ["127.0.0.1"]', (200, "")),
            ('trusted_proxies = ["127.0.0.1"]\nallowed_hosts = ["botapi.example"]',
             (403, "foreign-host")),
        ):  # fmt: skip
            applied = len(list(w.service.events("config_applied")))
            w.service.config_file.write_text(text.replace("[http]", f"[http]\n{line}"))
            until = time.monotonic() + WITHIN_S
            while len(list(w.service.events("config_applied"))) == applied:
                assert time.monotonic() < until, w.service.log[-2000:]
                time.sleep(0.05)  # noqa: ASYNC251 - the service is another process
            assert await get(w, "/matches/9", **named) == (200, "")
            assert await get(w, "/matches/9", Host="other.example") == others
            assert await get(w, "/matches/9") == (200, "")
