"""When a newer token is requested, and that it is never lost."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from support.bot_unit_env import fake_ports
from support.fake_clock import FakeClock, settle
from support.fake_steam import FakeLink, FakeStore, Script

from actors.accounts.auth_state import expires_at
from actors.accounts.models import Lease
from actors.bot.logon import DAY_S, FINISH_S, TokenRefresher
from actors.errors import LeaseLost, LogOnRefused, ServiceError, SteamUnreachable
from actors.steam.port import AuthState

pytestmark = pytest.mark.usefixtures("no_leaks")


LEASE = Lease("axe", 1, "us")


def token(exp: Any) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": exp}).encode()).decode().rstrip("=")
    return f"head.{claims}.signature"


class Link(FakeLink):
    """Issues tokens that are valid for 200 days, or does as the test says."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(Script(), lambda _: None)
        self.clock = clock
        self.asked: list[str] = []
        self.grants = True
        self.error: ServiceError | None = None
        self.held: asyncio.Event | None = None

    async def renew_token(self, auth: AuthState, *, timeout_s: float) -> AuthState | None:
        assert timeout_s > 0
        self.asked.append(auth.refresh_token)
        if self.held is not None:
            await self.held.wait()
        if self.error is not None:
            raise self.error
        fresh = token(self.clock.wall() + 200 * DAY_S)
        return AuthState(auth.steam_id, fresh, auth.guard_data) if self.grants else None


@dataclass
class RefresherEnv:
    clock: FakeClock
    link: Link
    saved: list[AuthState]
    refresher: TokenRefresher
    task: asyncio.Task[None] | None = None

    def begin(self, days_left: float | str) -> None:
        left = token(self.clock.wall() + days_left * DAY_S) if isinstance(days_left, float) else ""
        self.refresher._auth = AuthState(7, left or str(days_left), "guard")
        self.task = asyncio.create_task(self.refresher.run())


@pytest.fixture
async def env(clock: FakeClock) -> AsyncIterator[RefresherEnv]:
    class Store(FakeStore):
        async def save_auth(self, lease: Lease, auth: AuthState) -> None:
            assert lease == LEASE
            saved.append(auth)

    link, saved = Link(clock), list[AuthState]()
    ports = fake_ports(clock, store=Store(Script(), []))
    refresher = TokenRefresher(
        ports, link, LEASE, AuthState(7, "", None), log=structlog.get_logger()
    )
    env = RefresherEnv(clock, link, saved, refresher)
    yield env
    if env.task is not None:
        env.task.cancel()
        await asyncio.wait({env.task})
    await refresher.finish()


async def test_a_young_token_is_left_alone_until_a_month_before_its_end(env: RefresherEnv) -> None:
    env.begin(200.0)
    await env.clock.advance(168 * DAY_S)
    assert env.link.asked == []
    await env.clock.advance(4 * DAY_S)
    assert len(env.link.asked) == 1
    assert len(env.saved) == 1


async def test_a_newer_token_is_stored_and_then_young_itself(env: RefresherEnv) -> None:
    env.begin(20.0)
    await settle()
    (saved,) = env.saved
    assert saved.guard_data == "guard"
    await env.clock.advance(100 * DAY_S)
    assert len(env.link.asked) == 1


async def test_while_steam_keeps_the_old_one_it_is_asked_about_once_a_day(
    env: RefresherEnv,
) -> None:
    env.link.grants = False
    env.begin(29.0)
    await env.clock.advance(20 * DAY_S)
    assert len(env.link.asked) in range(18, 24)
    assert env.saved == []


@pytest.mark.parametrize(
    "error",
    [LogOnRefused("renewal", 15), SteamUnreachable("renewal", "late"), LeaseLost("axe", 1)],
)
async def test_a_refusal_is_tried_again_the_next_day(
    env: RefresherEnv, error: ServiceError
) -> None:
    env.link.error = error
    env.begin(20.0)
    await settle()
    env.link.error = None
    await env.clock.advance(1.2 * DAY_S)
    assert len(env.link.asked) == 2
    assert len(env.saved) == 1


async def test_a_renewal_that_has_begun_is_seen_to_its_end(env: RefresherEnv) -> None:
    """The old token is invalid as soon as Steam answers."""
    env.link.held = asyncio.Event()
    env.begin(20.0)
    await settle()
    assert env.task is not None
    env.task.cancel()
    finishing = asyncio.create_task(env.refresher.finish())
    await settle()
    assert not finishing.done()
    env.link.held.set()
    await finishing
    assert len(env.saved) == 1


async def test_a_renewal_that_takes_too_long_is_not_waited_for(env: RefresherEnv) -> None:
    env.link.held = asyncio.Event()
    env.begin(20.0)
    await settle()
    finishing = asyncio.create_task(env.refresher.finish())
    await env.clock.advance(FINISH_S)
    assert finishing.done()
    assert env.saved == []


async def test_what_is_no_token_is_left_alone(env: RefresherEnv) -> None:
    env.begin("something else")
    await env.clock.advance(400 * DAY_S)
    assert env.link.asked == []


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        (token(1700000000), 1700000000.0),
        (token("soon"), None),
        (token(None), None),
        ("a.b", None),
        ("a.!.c", None),
        ("a.W10.c", None),  # []
        ("", None),
    ],
)
def test_the_end_of_a_token_is_in_its_claims(text: str, expires: float | None) -> None:
    assert expires_at(text) == expires
