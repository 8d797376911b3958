"""Shared causes: which failures belong to one, when it begins, what ends it."""

from __future__ import annotations

import pytest

from actors.bot.shared_causes import (
    EXCUSED_S,
    QUIET_S,
    WINDOW_S,
    CauseKind,
    SharedCause,
    SharedCauses,
    kind_of,
    several_of,
)
from actors.errors import GcUnavailable, LeaseLost, LogOnRefused, ServiceError, SteamUnreachable

NOW = 1_700_000_000.0
REFUSED = SteamUnreachable("connect", "cm1:443: [Errno 111] Connection refused")


def fail(causes: SharedCauses, bot: int, failure: ServiceError, now: float) -> CauseKind | None:
    return causes.failed(f"bot-{bot}", f"account-{bot}", failure, now)


def succeed(causes: SharedCauses, bot: int, now: float) -> None:
    causes.succeeded(f"bot-{bot}", f"account-{bot}", now)


def kinds(causes: SharedCauses, now: float = NOW) -> list[CauseKind]:
    return [cause.kind for cause in causes.active(now)]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (REFUSED, CauseKind.STEAM_UNREACHABLE),
        (SteamUnreachable("directory", "GetCMList: 500"), CauseKind.STEAM_UNREACHABLE),
        (SteamUnreachable("logon", "no answer in time"), CauseKind.STEAM_UNREACHABLE),
        (SteamUnreachable("session", "closed"), CauseKind.STEAM_UNREACHABLE),
        (SteamUnreachable("session", "logged off", 20), CauseKind.STEAM_UNREACHABLE),
        (LogOnRefused("logon", 20), CauseKind.STEAM_UNREACHABLE),
        (LogOnRefused("credentials", 48), CauseKind.STEAM_UNREACHABLE),
        (LogOnRefused("logon", 131), CauseKind.STEAM_UNREACHABLE),
        (LogOnRefused("logon", 84), CauseKind.LOGONS_LIMITED),
        (LogOnRefused("logon", 25), CauseKind.LOGONS_LIMITED),
        (LogOnRefused("credentials", 87), CauseKind.LOGONS_LIMITED),
        (GcUnavailable("no welcome"), CauseKind.GC_UNAVAILABLE),
        (LogOnRefused("logon", 18), CauseKind.SAME_REFUSAL),
        (LogOnRefused("logon", 43), CauseKind.SAME_REFUSAL),
        (LogOnRefused("logon", 8), CauseKind.SAME_REFUSAL),
        (LogOnRefused("credentials", 5), CauseKind.SAME_REFUSAL),
        (LogOnRefused("logon", 4711), CauseKind.SAME_REFUSAL),
        (LogOnRefused("logon", 5), None),  # the token; the password has not been tried
        (LogOnRefused("credentials", 63), None),  # each attempt sends an e-mail
        (SteamUnreachable("session", "logged off", 34), None),  # another user of the account
        (SteamUnreachable("session", "logged off", 6), None),
        (SteamUnreachable("hub", "the hub ended"), None),
        (LeaseLost("axe", 1), None),
    ],
)
def test_a_failure_has_the_kind_of_its_cause(failure: ServiceError, kind: CauseKind | None) -> None:
    assert kind_of(failure) is kind


@pytest.mark.parametrize(
    ("fleet", "several"), [(0, 1), (1, 1), (2, 2), (3, 3), (12, 3), (30, 3), (100, 10), (300, 30)]
)
def test_several_bots_are_all_of_two_and_a_tenth_of_many(fleet: int, several: int) -> None:
    assert several_of(fleet) == several


def test_steam_is_away_when_several_bots_cannot_reach_it_until_one_does() -> None:
    causes = SharedCauses(fleet_size=12)
    ended: list[SharedCause] = []
    causes.on_end = ended.append
    timeout = SteamUnreachable("connect", "cm2:443: no answer in time")
    assert fail(causes, 1, REFUSED, NOW) is None
    assert fail(causes, 2, timeout, NOW + 1) is None
    assert kinds(causes) == []
    assert fail(causes, 3, REFUSED, NOW + 2) is CauseKind.STEAM_UNREACHABLE
    (cause,) = causes.active(NOW + 3)
    assert cause == SharedCause(
        CauseKind.STEAM_UNREACHABLE,
        NOW,
        "Connection refused",
        frozenset({"bot-1", "bot-2", "bot-3"}),
    )
    succeed(causes, 9, NOW + 100)
    assert ended == [cause]
    assert kinds(causes, NOW + 100) == []


@pytest.mark.parametrize("fleet", [1, 2])
def test_in_a_small_fleet_all_bots_are_several(fleet: int) -> None:
    causes = SharedCauses(fleet_size=fleet)
    for bot in range(fleet):
        assert kinds(causes) == []
        fail(causes, bot, REFUSED, NOW)
    assert kinds(causes) == [CauseKind.STEAM_UNREACHABLE]


def test_bots_without_an_account_are_not_missed() -> None:
    causes = SharedCauses(fleet_size=100)
    for bot in range(5):
        causes.began(f"bot-{bot}")
    for bot in range(3):
        assert kinds(causes) == []
        fail(causes, bot, REFUSED, NOW)
    assert kinds(causes) == [CauseKind.STEAM_UNREACHABLE]


def test_a_bot_that_lost_its_account_is_affected_no_more_and_counts_no_more() -> None:
    causes = SharedCauses(fleet_size=100)
    for bot in range(5):
        causes.began(f"bot-{bot}")
    for bot in range(3):
        causes.forget(f"bot-{bot}")
    fail(causes, 3, REFUSED, NOW)
    assert kinds(causes) == []
    fail(causes, 4, REFUSED, NOW)
    (cause,) = causes.active(NOW)
    assert cause.bots == {"bot-3", "bot-4"}


def test_one_cm_away_is_no_shared_cause_of_a_large_fleet() -> None:
    causes = SharedCauses(fleet_size=300)
    for bot in range(15):
        assert fail(causes, bot, REFUSED, NOW) is None
    assert kinds(causes) == []


def test_connections_that_break_are_no_outage_while_none_fails_to_come_back() -> None:
    causes = SharedCauses(fleet_size=12)
    for bot in range(12):
        fail(causes, bot, SteamUnreachable("session", "closed"), NOW)
    assert kinds(causes) == []
    for bot in range(2):
        fail(causes, bot, REFUSED, NOW + 1)
    assert kinds(causes) == [CauseKind.STEAM_UNREACHABLE]


def test_a_bot_that_is_stopped_or_fails_otherwise_is_affected_no_more() -> None:
    causes = SharedCauses(fleet_size=3)
    for bot in range(3):
        fail(causes, bot, REFUSED, NOW)
    causes.forget("bot-0")
    fail(causes, 1, LogOnRefused("logon", 63), NOW)
    (cause,) = causes.active(NOW)
    assert cause.bots == {"bot-2"}
    causes.forget("bot-2")
    assert kinds(causes) == []


def test_the_gc_is_away_until_it_welcomes_a_bot() -> None:
    causes = SharedCauses(fleet_size=12)
    ended: list[SharedCause] = []
    causes.on_end = ended.append
    causes.gc_lost("bot-1", "going down", NOW)
    causes.gc_lost("bot-2", "going down", NOW)
    assert fail(causes, 3, GcUnavailable("no welcome"), NOW) is CauseKind.GC_UNAVAILABLE
    (cause,) = causes.active(NOW)
    assert (cause.reason, len(cause.bots)) == ("going down", 3)
    succeed(causes, 3, NOW)  # logged on, but not welcomed
    assert kinds(causes) == [CauseKind.GC_UNAVAILABLE]
    causes.gc_ready("bot-7")
    assert [one.kind for one in ended] == [CauseKind.GC_UNAVAILABLE]
    assert kinds(causes) == []


def test_limited_log_ons_are_one_cause_for_each_address_from_the_first_bot_on() -> None:
    causes = SharedCauses(fleet_size=100)
    fail(causes, 1, LogOnRefused("logon", 84), NOW)
    causes.limited("bot-1", "192.0.2.1", NOW + 2100, NOW)
    causes.limited("bot-2", "192.0.2.1", NOW + 2100, NOW + 5)
    causes.limited("bot-3", "192.0.2.2", NOW + 900, NOW + 6)
    assert [(one.address, one.until, len(one.bots)) for one in causes.active(NOW + 10)] == [
        ("192.0.2.1", NOW + 2100, 2),
        ("192.0.2.2", NOW + 900, 1),
    ]
    assert [one.address for one in causes.active(NOW + 900 + QUIET_S)] == ["192.0.2.1"]
    succeed(causes, 4, NOW + 2200)
    assert kinds(causes, NOW + 2200) == []


def test_one_refusal_of_several_accounts_within_a_minute_is_shared() -> None:
    causes = SharedCauses(fleet_size=100)
    assert fail(causes, 1, LogOnRefused("logon", 18), NOW) is None
    assert fail(causes, 2, LogOnRefused("logon", 43), NOW + 1) is None
    assert fail(causes, 3, LogOnRefused("logon", 18), NOW + 59) is CauseKind.SAME_REFUSAL
    assert causes.refused_accounts(18, NOW + 59) == {"account-1", "account-3"}
    (cause,) = causes.active(NOW + 59)
    assert (cause.reason, cause.bots) == ("result 18 at the log-on", frozenset({"bot-1", "bot-3"}))


def test_one_account_again_and_again_is_not_several_accounts() -> None:
    causes = SharedCauses(fleet_size=1)
    for second in range(10):
        assert fail(causes, 1, LogOnRefused("logon", 18), NOW + second) is None


def test_refusals_more_than_a_minute_apart_are_not_shared() -> None:
    causes = SharedCauses(fleet_size=100)
    assert fail(causes, 1, LogOnRefused("logon", 18), NOW) is None
    assert fail(causes, 2, LogOnRefused("logon", 18), NOW + WINDOW_S) is None


def test_a_few_bad_accounts_among_good_ones_are_at_fault_themselves() -> None:
    causes = SharedCauses(fleet_size=12)
    for bot in range(10):
        succeed(causes, bot, NOW)
    assert fail(causes, 10, LogOnRefused("logon", 43), NOW + 1) is None
    assert fail(causes, 11, LogOnRefused("logon", 43), NOW + 1) is None


def test_a_success_ends_a_shared_refusal_and_the_stragglers_still_share_it() -> None:
    causes = SharedCauses(fleet_size=12)
    ended: list[SharedCause] = []
    causes.on_end = ended.append
    for bot in range(11):
        fail(causes, bot, LogOnRefused("logon", 18), NOW)
    succeed(causes, 0, NOW + 1)
    assert [one.kind for one in ended] == [CauseKind.SAME_REFUSAL]
    assert "bot-5" in ended[0].bots
    assert kinds(causes, NOW + 1) == []
    assert fail(causes, 11, LogOnRefused("logon", 18), NOW + 1) is CauseKind.SAME_REFUSAL


def test_a_refusal_that_lasts_counts_for_each_account_again_also_when_others_succeed() -> None:
    causes = SharedCauses(fleet_size=100)
    refused = LogOnRefused("logon", 43)
    for minute in range(int(EXCUSED_S / 60)):
        at = NOW + 60 * minute
        fail(causes, 1, refused, at)
        assert fail(causes, 2, refused, at) is CauseKind.SAME_REFUSAL
        succeed(causes, 50, at + 1)
    for bot in (1, 2):
        assert fail(causes, bot, refused, NOW + EXCUSED_S) is None
    later = NOW + EXCUSED_S + QUIET_S
    fail(causes, 1, refused, later)
    assert fail(causes, 2, refused, later) is CauseKind.SAME_REFUSAL


def test_the_reason_is_why_attempts_fail_and_not_how_sessions_ended() -> None:
    causes = SharedCauses(30)
    for bot in range(30):
        fail(causes, bot, SteamUnreachable("session", "the WebSocket closed"), NOW)
    for bot in range(3):
        fail(causes, bot, REFUSED, NOW + 1)
    (cause,) = causes.active(NOW + 1)
    assert (cause.reason, len(cause.bots)) == ("Connection refused", 30)
