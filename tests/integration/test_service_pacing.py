"""The log-ons of a fleet obey the limiter, by the sandbox's journal."""

from __future__ import annotations

import itertools
import re

import pytest

from bench.env import service_env
from bench.service_process import Sections

pytestmark = pytest.mark.integration


async def test_a_fleet_logs_on_no_faster_than_it_may() -> None:
    settings: Sections = {"logon": {"per_minute": 60, "burst": 3}}
    with service_env(4, settings=settings) as w:
        w.service.wait_ready(4, within=30)
        began = [one["t"] for one in await w.sandbox.journal("credentials_begun")]
        # Three tokens at first, three for each password: one at once, then one every three seconds.
        gaps = [after - before for before, after in itertools.pairwise(began)]
        assert len(gaps) == 3
        assert min(gaps) > 2.5


async def test_a_rate_limit_stops_the_whole_fleet_and_one_bot_tries_first() -> None:
    settings: Sections = {"logon": {"rate_limit_pause": 3}}
    with service_env(6, in_redis=0, settings=settings) as w:
        await w.sandbox.faults(logon_eresult={"value": 84})
        w.add_accounts()
        await w.sandbox.wait_journal("logon_refused", 1, within_s=20)
        begun = w.service.wait_log("shared_cause_begun", 10)
        assert begun["kind"] == "logons-limited"
        assert begun["text"].endswith("do not restart.")
        (alert,) = w.service.status()["alerts"]
        assert alert["kind"] == "logons-limited"
        assert re.fullmatch(
            r"Steam limits log-ons from \S+( \S+)? until {when}; \d bots? waits?; do not restart\.",
            alert["text"],
        )
        await w.sandbox.clear_faults()
        since = await w.sandbox.last_event()
        w.service.wait_ready(6, within=40)
        refused = await w.sandbox.journal("logon_refused", since=since)
        assert refused == []
