"""Where the logon limits meet sessions: both the credential flow and logons ask here first."""

from __future__ import annotations

import asyncio

from sandbox.eresult import EResult
from sandbox.limits import Rule
from sandbox.session import Session


def refusal(session: Session, account: str | None) -> EResult | None:
    """Count a try; return 84 (this IP) or 87 (this account) when it is one too many."""
    rule = _rule(session)
    if rule is None:
        return None
    limits, now = session.services.limits, asyncio.get_running_loop().time()
    if not limits.admits(f"ip {session.link.source}", rule.most, rule, now):
        return EResult.RATE_LIMIT_EXCEEDED
    if account and not limits.admits(f"account {account}", rule.account_most, rule, now):
        return EResult.ACCOUNT_LOGIN_DENIED_THROTTLE
    return None


def note_failure(session: Session, account: str | None) -> None:
    """Let the try that was just refused weigh more."""
    rule = _rule(session)
    if rule is None:
        return
    limits, now = session.services.limits, asyncio.get_running_loop().time()
    limits.failed(f"ip {session.link.source}", rule, now)
    if account:
        limits.failed(f"account {account}", rule, now)


def _rule(session: Session) -> Rule | None:
    value = session.services.faults.take("logon_limit")
    return None if value is None else Rule.of(value)
