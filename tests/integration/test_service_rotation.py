"""A bot whose account has spent its day takes another: as often as there are any."""

from __future__ import annotations

import pytest

from bench.env import service_env, simple_accounts
from bench.service_process import Sections

pytestmark = pytest.mark.integration

ACCOUNTS = 8
INTENSITY = 2  # failures


async def test_spent_budgets_are_no_failures_however_many_there_are() -> None:
    settings: Sections = {
        "quota": {"per_account": 1},
        "restart": {"backoff_min": 0.05, "backoff_max": 0.1, "intensity": INTENSITY, "period": 600},
    }
    with service_env(1, accounts=simple_accounts(ACCOUNTS), settings=settings) as w:
        for match_id in range(6_000_000_000, 6_000_000_000 + 20 * ACCOUNTS, 20):
            w.service.wait_ready(1)
            status, _ = w.service.get(f"/match-details?match_id={match_id}")
            assert status == 200
        asked = {event["account"] for event in await w.sandbox.journal("match_request")}
        ends = [event["decision"] for event in w.service.events("child_ended")]
    assert len(asked) == ACCOUNTS > INTENSITY + 1
    assert set(ends) == {"RestartAfter"}
