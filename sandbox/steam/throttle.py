"""Applies the log-on limits to sessions."""

from __future__ import annotations

from sandbox.protocol.eresult import EResult
from sandbox.steam.logon_limits import PASSWORD_WEIGHT, Rule
from sandbox.steam.session import Session


def refusal(session: Session, account: str | None, *, is_token: bool = False) -> EResult | None:
    """Count a try; return 84 (this IP) or 87 (this account) when it is one too many."""
    rule = _rule(session)
    if rule is None:
        return None
    limits, now = session.services.limits, session.services.now()
    weight = _weight(rule, is_token=is_token)
    if not limits.admits(f"ip {session.link.source}", rule.most, rule, weight, now):
        return EResult.RATE_LIMIT_EXCEEDED
    if account and not limits.admits(f"account {account}", rule.account_most, rule, weight, now):
        return EResult.ACCOUNT_LOGIN_DENIED_THROTTLE
    return None


def note_failure(session: Session, account: str | None, *, is_token: bool = False) -> None:
    """Let the try that was just refused weigh more."""
    rule = _rule(session)
    if rule is None:
        return
    limits, now = session.services.limits, session.services.now()
    weight = _weight(rule, is_token=is_token)
    limits.failed(f"ip {session.link.source}", rule, weight, now)
    if account:
        limits.failed(f"account {account}", rule, weight, now)


def _weight(rule: Rule, *, is_token: bool) -> float:
    return rule.token_weight if is_token else PASSWORD_WEIGHT


def _rule(session: Session) -> Rule | None:
    services = session.services
    value = services.faults.take("logon_limit", {} if services.options.logon_limits else None)
    return None if value is None else Rule.of(value)
