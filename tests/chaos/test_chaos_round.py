"""A short round of faults has no violations; without lease renewal the checks report some."""

from __future__ import annotations

import math

import pytest

from bench.chaos.consistency import ANSWERS, LONGEST_S, REDIS_STATUS
from bench.chaos.env import BROKEN, LEASE_S, RoundConfig
from bench.chaos.round import Round

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

FEWER_ACCOUNTS_THAN_BOTS = RoundConfig(members=2, bots=3, accounts=4)


@pytest.mark.alone
async def test_a_round_of_faults_has_no_violations() -> None:
    result = await Round(seed=20, length_s=25.0).run()
    assert result.checks.violations == []
    assert len(result.faults) >= 8
    assert result.answers["data"] > 0
    assert result.checks.counts["match requests"] > 0
    assert result.consistency.samples > 25
    assert result.consistency.checks.counts[ANSWERS] > 25


async def test_missing_lease_renewal_is_reported_by_both_checks() -> None:
    quiet = Round(
        seed=21,
        length_s=LEASE_S * 1.8,
        module=BROKEN,
        config=FEWER_ACCOUNTS_THAN_BOTS,
        fault_every_s=math.inf,
        settle_s=1.0,
    )
    result = await quiet.run()
    assert any("beside" in violation for violation in result.checks.violations)
    assert any(REDIS_STATUS in violation for violation in result.checks.violations)
    assert result.consistency.longest[REDIS_STATUS] > LONGEST_S
