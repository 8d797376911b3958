"""The page with a simulated big fleet: the real dashboard, stream, registry and HTTP server, no Steam.

    python -m bench.dashboard_env --bots 1000 --changes 200 --redis redis://127.0.0.1:6379/0

Prints its URL and runs until it is terminated. `--changes`: bots that change state per second. The
accounts are in Redis, where the real one looks for them, put there by `DashboardProcess`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Self, cast

import psutil
import redis
import structlog
from aiohttp import web

from actors.accounts.admin import AccountAdmin
from actors.accounts.models import QuotaLimits
from actors.accounts.store import AccountStore
from actors.actor import Actor, Address
from actors.bot.messages import BotChanged, BotReport, FleetControl, FleetPlan, ReadyBot
from actors.bot.registry import BotRegistry
from actors.bot.shared_causes import SharedCause
from actors.bot.states import BotState
from actors.dashboard.cause_log import LastingCauses
from actors.dashboard.dashboard import Dashboard
from actors.dashboard.history import HOUR_S, POINT_S, Traffic
from actors.http.auth.admin import Audit
from actors.http.headers import on_prepare
from actors.http.routes.dashboard import EventsRoute, SessionRoutes
from actors.http.routes.pages import PageRoutes
from actors.redis.client import connect
from actors.router.messages import RouterMessage, RouterReport
from bench.valkey import own_valkey
from supervisor import __version__
from supervisor.clock import SystemClock
from supervisor.config.model import Settings
from supervisor.logs.setup import configure

STEP_S = 0.1
IP = "192.0.2.1"
NEED = "needs a Steam Guard code, which Steam has sent by e-mail (result 63)"
MOST_USED = 100  # accounts with a used budget; more would only take longer to prepare
WAYS = (
    (BotState.READY, None),
    (BotState.READY, None),
    (BotState.READY, None),
    (BotState.CONNECTING, None),
    (BotState.AUTHENTICATING, None),
    (BotState.BACKING_OFF, "Steam is unreachable during session: the connection broke"),
    (BotState.NEEDS_HUMAN, "account needs a person: a Steam Guard code from the e-mail"),
)


class _Router(Actor[RouterMessage]):
    """Says how busy it is."""

    async def handle(self, message: RouterMessage) -> RouterReport:
        """Answer every question alike."""
        del message
        return RouterReport(ready=0, in_flight=0, waiting=0)


class _Causes:
    """Has no shared cause."""

    def active(self) -> tuple[SharedCause, ...]:
        """Return them."""
        return ()


class _Store:
    """Has no account that this instance cannot use."""

    def avoided(self) -> dict[str, str]:
        """Return them."""
        return {}


class _Fleet:
    """Returns the intended state of the fleet."""

    def __init__(self, bots: int) -> None:
        self._plan = FleetPlan(bots, bots, drained=False, parked=(), leaving=())

    def plan(self) -> FleetPlan:
        """Return the intended state."""
        return self._plan


def account_of(number: int) -> str:
    """Return the name of the account of one bot."""
    return f"account{number:04}"


class PageEnv:
    """An HTTP server and the services behind its page, with bots that only change state."""

    def __init__(self, bots: int, changes: float, redis_url: str) -> None:
        self._clock = SystemClock()
        self._rng = random.Random(1)
        self._bots = bots
        self._changes = changes
        self._traffic = Traffic()
        self._registry = BotRegistry(
            stable_after_s=60.0, clock=self._clock, log=structlog.get_logger()
        )
        self._router = _Router(Address("router"), clock=self._clock)
        self._dashboard = Dashboard(
            registry=self._registry,
            router=self._router.address,
            fleet=cast("FleetControl", _Fleet(bots)),
            accounts=AccountAdmin(connect(redis_url), prefix="botapi", quota=QuotaLimits()),
            store=cast("AccountStore", _Store()),
            traffic=self._traffic,
            about={"version": __version__, "instance": "made-up"},
            config=dict,
            causes=cast("LastingCauses", _Causes()),
            epoch="env",
            clock=self._clock,
            log=structlog.get_logger(),
        )

    async def run(self) -> None:
        """Serve until terminated."""
        for number in range(self._bots):
            self._registry.changed(self._change(number, BotState.READY, None))
        services = (self._router, self._dashboard)
        for one in services:
            await one.start()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one.run()) for one in services]
            running.append(tasks.create_task(self._change_bots()))
            await self._serve()
            for task in running:
                task.cancel()

    def live_through_an_hour(self) -> None:
        """Fill the last hour with what may have happened in it: a start, and Steam's maintenance."""
        now = self._clock.wall()
        for ago in range(HOUR_S, POINT_S, -POINT_S):
            away = 600 < ago < 900
            ready = min(self._bots, (HOUR_S - ago) // 3) if not away else self._rng.randrange(3)
            states = [BotState.READY] * ready + [BotState.BACKING_OFF] * (self._bots - ready)
            bots = [BotReport(str(n), s, now, None, 0, None, None) for n, s in enumerate(states)]
            self._dashboard.history.add(now - ago, bots, needs_you=int(ago < 1500))
            for _ in range(self._rng.randrange(10) + ready // 20):
                error = self._rng.choice(
                    ["notready", "timeout"] if away else [None] * 9 + ["not-found"]
                )
                source = None if error else self._rng.choice(["gc", "gc", "memory", "redis"])
                took_s = self._rng.expovariate(4.0)
                self._traffic.note(now - ago, took_s, error=error, source=source)

    async def _serve(self) -> None:
        configure(Settings().log)
        app = web.Application()
        app.on_response_prepare.append(on_prepare)
        PageRoutes().add_to(app)
        SessionRoutes(None, Audit(structlog.get_logger()), is_private=False).add_to(app)
        EventsRoute(self._dashboard, None, is_private=False, clock=self._clock).add_to(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        await over.wait()
        await runner.cleanup()

    async def _change_bots(self) -> None:
        while True:
            await self._clock.sleep(STEP_S)
            for _ in range(round(self._changes * STEP_S)):
                state, reason = self._rng.choice(WAYS)
                self._change_one(self._rng.randrange(self._bots), state, reason)
                took_s = self._rng.expovariate(4.0)
                source = self._rng.choice(["gc", "memory"])
                self._traffic.note(self._clock.wall(), took_s, error=None, source=source)

    def _change_one(self, number: int, state: BotState, reason: str | None) -> None:
        self._registry.changed(self._change(number, state, reason))
        if state is BotState.BACKING_OFF:
            self._registry.supervised(
                f"bot-{number + 1}", state, restarts=1, last_error=reason, next_try_in=30.0
            )

    def _change(self, number: int, state: BotState, reason: str | None) -> BotChanged:
        bot_id, account = f"bot-{number + 1}", account_of(number)
        ready_bot = (
            ReadyBot(bot_id, account, 1, IP, Address(bot_id)) if state is BotState.READY else None
        )
        return BotChanged(bot_id, state, account, reason, ready_bot)


class DashboardProcess:
    """`PageEnv` in a process of its own, with a Valkey that has its accounts; a context manager."""

    def __init__(self, bots: int, changes: float) -> None:
        self._bots = bots
        self._changes = changes

    def __enter__(self) -> Self:
        self._life = self._live()
        self.url = next(self._life)
        return self

    def __exit__(self, *_: object) -> None:
        next(self._life, None)

    @property
    def cpu_seconds(self) -> float:
        """User plus system time so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _live(self) -> Iterator[str]:
        with own_valkey() as valkey:
            url = f"redis://127.0.0.1:{valkey.port}/0"
            self._add_accounts(url)
            command = [sys.executable, "-m", "bench.dashboard_env", "--redis", url]
            command += ["--bots", str(self._bots), "--changes", str(self._changes)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                self._process = process
                try:
                    if process.stdout is None or not (first := process.stdout.readline()):
                        raise RuntimeError("the page's service did not start")
                    yield first.strip()
                finally:
                    process.terminate()

    def _add_accounts(self, url: str) -> None:
        """Add a leased account for each bot, and one that is cooling down and needs an operator."""
        names = [account_of(number) for number in range(self._bots + 1)]
        *held, needy = names
        rng, ahead = random.Random(1), 10**13
        now = int(SystemClock().wall() * 1000)
        holders = {name: f"{now} {now} env/bot-{at}" for at, name in enumerate(held, 1)}
        with redis.Redis.from_url(url) as client, client.pipeline() as pipe:
            pipe.hset("botapi:passwords", mapping=dict.fromkeys(names, "pw"))
            pipe.zadd("botapi:checkouts", {**dict.fromkeys(held, 1), needy: 0})
            pipe.zadd("botapi:leases", dict.fromkeys(held, ahead))
            pipe.hset("botapi:holders", mapping=holders)
            pipe.zadd("botapi:cooldowns", {needy: now + 6 * 3600 * 1000})
            pipe.hset("botapi:cooldown-reasons", needy, NEED)
            used = {name: rng.randrange(1, 90) for name in held[:MOST_USED]}
            for name, times in used.items():
                pipe.zadd(f"botapi:quota:account:{name}", _requests(times, now, rng))
            of_ip = _requests(min(440, sum(used.values())), now, rng)
            pipe.zadd(f"botapi:quota:ip:{IP}", of_ip)
            pipe.execute()


def _requests(times: int, now: int, rng: random.Random) -> dict[str, float]:
    """Return a budget of which so many are used, in the last ten hours."""
    return {f"request{one}": now - rng.randrange(36_000_000) for one in range(times)}


def main() -> None:
    """Serve the page of a simulated fleet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bots", type=int, default=1000)
    parser.add_argument("--changes", type=float, default=200.0)
    parser.add_argument("--redis", required=True)
    options = parser.parse_args()
    env = PageEnv(options.bots, options.changes, options.redis)
    env.live_through_an_hour()
    asyncio.run(env.run())


if __name__ == "__main__":
    main()
