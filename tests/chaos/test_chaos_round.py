"""A short round of faults breaks nothing; where leases are not renewed, judge and witness see it."""

from __future__ import annotations

import math

import pytest

from bench.chaos.agreement import ANSWERS, LONGEST_S, REDIS_STATUS
from bench.chaos.arena import BROKEN, LEASE_S, Shape
from bench.chaos.round import Round

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

FEWER_ACCOUNTS_THAN_BOTS = Shape(members=2, bots=3, accounts=4)


@pytest.mark.alone
async def test_a_round_of_faults_breaks_no_promise() -> None:
    outcome = await Round(seed=20, length_s=25.0).run()
    assert outcome.verdict.violations == []
    assert len(outcome.faults) >= 8
    assert outcome.answers["data"] > 0
    assert outcome.verdict.checks["match requests"] > 0
    assert outcome.agreement.samples > 25
    assert outcome.agreement.verdict.checks[ANSWERS] > 25


async def test_leases_that_are_not_renewed_are_seen_by_judge_and_witness() -> None:
    quiet = Round(
        seed=21,
        length_s=LEASE_S * 1.8,
        module=BROKEN,
        shape=FEWER_ACCOUNTS_THAN_BOTS,
        fault_every_s=math.inf,
        settle_s=1.0,
    )
    outcome = await quiet.run()
    assert any("beside" in violation for violation in outcome.verdict.violations)
    assert any(REDIS_STATUS in violation for violation in outcome.verdict.violations)
    assert outcome.agreement.longest[REDIS_STATUS] > LONGEST_S
