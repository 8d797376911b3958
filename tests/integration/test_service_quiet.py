"""A fleet that is well says nothing: no line for waiting, renewing, beating and being looked at."""

from __future__ import annotations

import json
import time

import pytest
from support.exposition import Exposition

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration

WITHIN_S = 45.0
# What makes a line no news by itself.
OFTEN_NEW = {"timestamp", "request_id", "match_id", "duration_s"}
WATCHED = ("/healthz", "/readyz", "/status", "/metrics")


def counts(w: ServiceEnv) -> dict[str, float]:
    """Return how often what an idle fleet does was done."""
    for path in WATCHED:
        assert w.service.get(path)[0] == 200
    found = Exposition(w.service.get("/metrics")[1].decode())
    scripts = found.values("botapi_redis_latency_seconds_count", "script")
    beats = found.value("botapi_hub_lag_seconds_count")
    return {"beats": beats, **{name: scripts[name] for name in ("renew", "acquire")}}


def wait_for(w: ServiceEnv, more: dict[str, float]) -> None:
    begun = counts(w)
    until = time.monotonic() + WITHIN_S
    while any(counts(w).get(name, 0) - begun[name] < wanted for name, wanted in more.items()):
        assert time.monotonic() < until, (begun, counts(w))
        time.sleep(0.25)


def test_an_idle_fleet_is_silent() -> None:
    """Two bots at rest, whose leases are short; a third waits for an account that is not there."""
    settings = {"bots": {"lease_seconds": 12.5}}
    with service_env(
        3,
        accounts=simple_accounts(3),
        in_redis=2,
        settings=settings,
        sandbox_options=("--heartbeat", "0.5"),
    ) as w:
        w.service.wait_ready(2)
        assert w.service.get("/match-details?match_id=7")[0] == 200
        until = time.monotonic() + WITHIN_S
        while "renew" not in Exposition(w.service.get("/metrics")[1].decode()).values(
            "botapi_redis_latency_seconds_count", "script"
        ):
            assert time.monotonic() < until
            time.sleep(0.1)
        before = w.service.log
        wait_for(w, {"renew": 4, "acquire": 2, "beats": 8})
        assert w.service.log == before


def test_no_line_is_said_twice() -> None:
    """Of the start, of requests, of a Redis that goes and comes: each line has news."""
    with service_env(2, settings={"bots": {"lease_seconds": 60}}) as w:
        w.service.wait_ready(2)
        w.valkey.stop()
        for match_id in range(1, 21):
            assert w.service.get(f"/match-details?match_id={match_id}")[0] == 503
        w.valkey.start()
        until = time.monotonic() + WITHIN_S
        while not list(w.service.events("redis_back")):
            w.service.get("/match-details?match_id=21")
            assert time.monotonic() < until
            time.sleep(0.1)
        lost, back = w.service.events("redis_lost"), w.service.events("redis_back")
        assert len(list(lost)) == len(list(back)) == 1
        lines = [json.loads(line) for line in w.service.log.splitlines()]
    seen = set()
    for line in lines:
        if line["event"] != "request_answered":  # every request has one
            said = json.dumps({key: line[key] for key in line.keys() - OFTEN_NEW}, sort_keys=True)
            assert said not in seen
            seen.add(said)
