"""Consequences of a failed run for account, CM, address and operator; alone and shared by many bots."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from support.bot_unit_env import fake_ports
from support.fake_clock import FakeClock
from support.fake_steam import SERVER, FakeDirectory, FakeLimiter, FakeStore, Script

from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.eresults import (
    OPERATOR_ACTION,
    LogonResult,
    classify_logon,
    is_known,
)
from actors.bot.failure_counter import FORGET_S, FailureCounter, FailureSeries
from actors.bot.failure_policy import AVOID_S, CONFIRM_S, CONFIRMED_S, HANDLING, FailurePolicy
from actors.bot.shared_causes import CauseKind
from actors.errors import (
    CannotDecrypt,
    ClockUncertain,
    GcUnavailable,
    LeaseLost,
    LogOnRefused,
    NeedsHuman,
    ServiceError,
    SteamUnreachable,
    StoreMisused,
    StoreUnavailable,
)
from actors.steam.port import AuthState

REPLACED = 34


class PolicyEnv:
    """Runs of bots, one after the other; each account has a bot of its own."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.start = clock.now()
        self.script = Script()
        self.store = FakeStore(self.script, [])
        self.directory = FakeDirectory()
        self.limiter = FakeLimiter()
        self.ports = fake_ports(
            clock, store=self.store, directory=self.directory, limiter=self.limiter
        )

    def run(self, account: str = "axe") -> FailurePolicy:
        lease = self.store._lease(account, "us")
        return FailurePolicy(f"bot of {account}", self.ports, lease, log=self.ports.log)

    async def ended(
        self, failure: Exception, *, logged_on: bool = False, account: str = "axe"
    ) -> FailurePolicy:
        """Run once, to this end."""
        policy = self.run(account)
        await self.end(policy, failure, logged_on=logged_on)
        return policy

    async def end(
        self, policy: FailurePolicy, failure: Exception, *, logged_on: bool = False
    ) -> None:
        await policy.mark_culprit(SERVER, failure, logged_on=logged_on)
        await policy.release(failure, pause_s=None, patience_s=0.0)

    def pause(self, account: str = "axe") -> float | None:
        """Return the account's cooldown in seconds, and remove it."""
        return self.store.cooldowns.pop(account, (None, ""))[0]


@pytest.fixture
def env(clock: FakeClock) -> PolicyEnv:
    return PolicyEnv(clock)


def logged_off(eresult: int | None) -> SteamUnreachable:
    return SteamUnreachable("session", "logged off", eresult)


@pytest.mark.parametrize(
    ("eresult", "logged_on", "is_marked"),
    [
        (None, False, True),  # closed before the log-on was complete
        (None, True, False),  # closed later: maintenance or load balancing
        (20, True, True),
        (48, True, True),
        (REPLACED, False, False),  # concerns the account, not the CM
    ],
)
async def test_a_cm_is_avoided_when_it_is_at_fault(
    env: PolicyEnv, eresult: int | None, *, logged_on: bool, is_marked: bool
) -> None:
    await env.ended(logged_off(eresult), logged_on=logged_on)
    assert env.directory.bad == ([SERVER] if is_marked else [])


@pytest.mark.parametrize("eresult", [7, 25, 84, 87, 105])
async def test_a_limit_stops_all_log_ons_from_the_ip_also_when_logged_off_with_it(
    env: PolicyEnv, eresult: int
) -> None:
    await env.ended(logged_off(eresult), logged_on=True)
    assert env.limiter.limited == 1


async def test_a_token_that_died_while_in_use_is_forgotten(env: PolicyEnv) -> None:
    env.store.auth["axe"] = AuthState(7, "token", "guard")
    await env.ended(logged_off(26), logged_on=True)
    assert env.store.auth["axe"] == AuthState(7, "", "guard")
    assert env.store.cooldowns == {}


@pytest.mark.parametrize(
    "failure",
    [
        NeedsHuman("axe", "a Steam Guard code (e-mail at example.com)"),
        NeedsHuman("axe", "approve the log-on in the Steam app"),
        *(LogOnRefused("credentials", eresult) for eresult in (63, 65, 71, 85, 88, 101, 118)),
    ],
    ids=str,
)
async def test_what_needs_a_person_is_not_tried_again_before_the_person_acts(
    env: PolicyEnv, failure: ServiceError
) -> None:
    """Each try mails a code, asks in the app or counts as a failure at Steam."""
    await env.ended(failure)
    assert env.store.repeated["axe"] == UNTIL_ACTED_S
    assert env.pause() == UNTIL_ACTED_S


@pytest.mark.parametrize("eresult", [6, 20, 27, 84, 87])
async def test_what_ends_by_itself_has_nothing_to_do_with_credentials(
    env: PolicyEnv, eresult: int
) -> None:
    await env.ended(LogOnRefused("credentials", eresult))
    assert env.store.repeated.get("axe") is None


async def test_a_wrong_password_is_a_need_at_once_and_is_tried_again_once_a_day(
    env: PolicyEnv,
) -> None:
    """The store counts the refusals of the same credentials, over all processes."""
    refused = LogOnRefused("credentials", 5)
    with capture_logs() as lines:
        policy = await env.ended(refused)
    assert policy.classify(refused).action == f"{OPERATOR_ACTION[5]} (result 5)"
    assert env.store.cooldowns["axe"] == (1800.0, f"needs {OPERATOR_ACTION[5]} (result 5)")
    assert env.store.repeated["axe"] == CONFIRMED_S
    assert [one["event"] for one in lines] == ["account_needs_human"]


async def test_what_ended_a_life_is_one_strike_however_often_it_is_judged(env: PolicyEnv) -> None:
    refused = LogOnRefused("credentials", 5)
    policy = await env.ended(refused)
    assert policy.classify(refused).result is LogonResult.WRONG_PASSWORD
    assert policy.classify(refused).result is LogonResult.WRONG_PASSWORD


async def test_an_account_in_use_elsewhere_is_left_alone_longer_each_time(
    env: PolicyEnv,
) -> None:
    pauses = []
    for _ in range(6):
        await env.ended(logged_off(6), logged_on=True)
        pauses.append(env.store.cooldowns["axe"][0])
    assert pauses == [300.0, 600.0, 1200.0, 2400.0, 3600.0, 3600.0]


async def test_an_unknown_result_is_tried_three_times_and_told_once(env: PolicyEnv) -> None:
    with capture_logs() as lines:
        pauses = []
        for _ in range(4):
            await env.ended(LogOnRefused("logon", 4711))
            pauses.append(env.store.cooldowns["axe"][0])
    assert pauses == [120.0, 240.0, 86400.0, 86400.0]
    unknown = [one for one in lines if one["event"] == "eresult_unknown"]
    assert [(one["eresult"], one["phase"], one["log_level"]) for one in unknown] == [
        (4711, "logon", "warning")
    ]


async def test_being_logged_off_with_an_unknown_result_is_no_strike(env: PolicyEnv) -> None:
    with capture_logs() as lines:
        for _ in range(5):
            await env.ended(logged_off(4711), logged_on=True)
    assert env.store.cooldowns == {}
    assert [one["event"] for one in lines] == ["eresult_unknown"]


@pytest.mark.parametrize("eresult", [17, 18, 19, 43, 51, 73, 80, 114])
async def test_an_account_stops_only_when_a_second_answer_ten_minutes_later_confirms_it(
    env: PolicyEnv, eresult: int
) -> None:
    refused, pauses = [], []
    with capture_logs() as lines:
        for _ in range(4):
            refused.append(await env.ended(LogOnRefused("logon", eresult)))
            pauses.append(env.pause())
            assert lines == [] or len(pauses) == 4
            await env.clock.advance(pauses[-1] or 0.0)
    assert pauses == [120.0, 240.0, 480.0, CONFIRMED_S]  # after 0, 2, 6 and 14 minutes
    assert [one["event"] for one in lines] == ["account_needs_human"]
    assert lines[0]["need"] == f"{OPERATOR_ACTION[eresult]} (result {eresult})"


@pytest.mark.parametrize("after_s", [599.0, 600.0])
async def test_the_second_answer_counts_from_the_tenth_minute_on(
    env: PolicyEnv, after_s: float
) -> None:
    await env.ended(LogOnRefused("logon", 43))
    await env.clock.advance(after_s)
    await env.ended(LogOnRefused("logon", 43))
    assert env.pause() == (CONFIRMED_S if after_s >= CONFIRM_S else 240.0)


async def test_a_log_on_in_between_shows_that_the_refusal_was_none_of_the_accounts(
    env: PolicyEnv,
) -> None:
    await env.ended(LogOnRefused("logon", 43))
    env.run().logged_on()
    await env.clock.advance(CONFIRM_S)
    await env.ended(LogOnRefused("logon", 43))
    assert env.pause() == 120.0


async def test_a_message_is_called_wrong_when_others_log_on_and_it_repeats(env: PolicyEnv) -> None:
    with capture_logs() as lines:
        pauses = []
        for minutes in range(0, 60, 10):
            if minutes == 40:
                env.run("bane").logged_on()
            await env.ended(LogOnRefused("logon", 8))
            pauses.append(env.pause())
            assert (lines == []) is (minutes < 40)
            await env.clock.advance(600.0)
    assert pauses == [120.0, 240.0, 480.0, 960.0, 86400.0, 86400.0]
    alarm = lines[0]
    assert (alarm["event"], alarm["log_level"], alarm["eresult"]) == ("message_refused", "error", 8)


@pytest.mark.parametrize("eresult", [REPLACED, 6, 50])
async def test_two_services_on_one_account_fight_less_each_time_and_say_so_once(
    env: PolicyEnv, eresult: int
) -> None:
    with capture_logs() as lines:
        pauses = []
        for _ in range(8):
            env.run().logged_on()
            await env.ended(logged_off(eresult), logged_on=True)
            pauses.append(env.pause())
            await env.clock.advance(pauses[-1] or 0.0)
    first = 120.0 if eresult == REPLACED else 300.0
    assert pauses == [min(3600.0, first * 2**number) for number in range(8)]
    assert [(one["event"], one["log_level"]) for one in lines] == [
        ("account_used_elsewhere", "warning")
    ]


@pytest.mark.parametrize(
    "failure",
    [
        SteamUnreachable("connect", "cm:443: refused"),
        SteamUnreachable("directory", "GetCMList: 503"),
        SteamUnreachable("logon", "no answer in time"),
        SteamUnreachable("session", "closed"),
        SteamUnreachable("session", "logged off", 20),
        LogOnRefused("logon", 20),
        LogOnRefused("logon", 48),
        LogOnRefused("credentials", 2),
        LogOnRefused("logon", 131),
        LogOnRefused("logon", 84),
    ],
)
async def test_trouble_outside_is_no_fault_of_a_bot_or_its_account(
    env: PolicyEnv, failure: ServiceError
) -> None:
    for _ in range(20):
        await env.ended(failure)
    assert failure.is_external
    assert not failure.is_blameless  # it backs off
    assert env.store.cooldowns == {}


async def test_try_later_waits_longer_than_a_backoff(env: PolicyEnv) -> None:
    failure = LogOnRefused("logon", 131)
    await env.ended(failure)
    assert failure.retry_after == 15.0


async def test_a_gc_that_is_away_for_all_is_no_fault_of_a_bot_and_for_one_it_may_be(
    env: PolicyEnv,
) -> None:
    env.ports.causes.fleet_size = 3
    failures = [GcUnavailable("no welcome") for _ in range(3)]
    runs = [env.run(f"account-{number}") for number in range(3)]
    for policy, failure in zip(runs, failures, strict=True):
        await env.end(policy, failure)
    assert [failure.is_external for failure in failures] == [False, False, True]


@pytest.mark.parametrize("eresult", [8, 17, 18, 43, 51, 80, 114, 4711])
async def test_a_refusal_of_many_within_a_minute_is_no_strike_of_any(
    env: PolicyEnv, eresult: int
) -> None:
    env.ports.causes.fleet_size = 12
    for _ in range(20):
        await env.clock.advance(60.0)
        for number in range(12):
            failure = LogOnRefused("logon", eresult)
            ended = await env.ended(failure, account=f"account-{number}")
            assert ended.classify(failure).action is None
        assert failure.is_external
        assert env.store.cooldowns == {}  # the cooldown of the first is lifted
    env.run("account-0").logged_on()
    await env.clock.advance(3600.0)
    await env.ended(LogOnRefused("logon", eresult), account="account-1")
    assert env.pause("account-1") == 120.0  # its first one


async def test_the_longer_a_shared_refusal_lasts_the_less_often_steam_is_asked(
    env: PolicyEnv,
) -> None:
    waits = []
    for minute in (0, 1, 4, 8, 12):
        await env.clock.advance(env.start + 60.0 * minute - env.clock.now())
        for account in ("axe", "bane"):
            failure = LogOnRefused("logon", 18)
            await env.ended(failure, account=account)
        waits.append(failure.retry_after)
    assert waits == [0.0, 15.0, 60.0, 120.0, 120.0]


async def test_a_cooldown_is_lifted_only_where_it_is_that_of_the_shared_refusal(
    env: PolicyEnv,
) -> None:
    await env.ended(LogOnRefused("logon", 18), account="axe")
    await env.ended(LogOnRefused("logon", 43), account="bane")
    env.store.cooldowns["axe"] = (9999.0, "an operator's own reason")
    await env.ended(LogOnRefused("logon", 18), account="chen")
    await env.ended(LogOnRefused("logon", 43), account="dazzle")
    assert env.store.cooldowns == {"axe": (9999.0, "an operator's own reason")}


async def test_a_cooldown_that_is_forgiven_before_it_is_stored_is_not_stored(
    env: PolicyEnv,
) -> None:
    early, late = env.run("axe"), env.run("bane")
    refused = LogOnRefused("logon", 18)
    await early.mark_culprit(SERVER, refused, logged_on=False)
    await env.end(late, LogOnRefused("logon", 18))
    await early.release(refused, pause_s=None, patience_s=0.0)
    assert env.store.cooldowns == {}


async def test_passwords_that_steam_calls_wrong_for_many_wait_minutes_and_need_no_human(
    env: PolicyEnv,
) -> None:
    """A single refusal counts against the account; the second one retracts it."""
    with capture_logs() as lines:
        for _ in range(5):
            for number in range(3):
                failure = LogOnRefused("credentials", 5)
                await env.ended(failure, account=f"account-{number}")
            await env.clock.advance(120.0)
    assert [one["event"] for one in lines] == ["account_needs_human"]
    assert not any(reason.startswith("needs") for _, reason in env.store.cooldowns.values())
    assert {pause for pause, _ in env.store.cooldowns.values()} == {120.0}


async def test_an_attempt_from_before_steam_came_back_is_repeated_at_once(env: PolicyEnv) -> None:
    stalled = env.run("axe")
    refused = SteamUnreachable("connect", "refused")
    await env.ended(refused, account="bane")
    await env.clock.advance(5.0)
    env.run("chen").logged_on()
    late = SteamUnreachable("connect", "no answer in time")
    await env.end(stalled, late)
    assert late.is_blameless
    again = SteamUnreachable("connect", "no answer in time")
    await env.clock.advance(1.0)
    await env.ended(again, account="axe")
    assert not again.is_blameless


async def test_a_limit_is_shared_from_the_first_refusal_on(env: PolicyEnv) -> None:
    await env.ended(LogOnRefused("logon", 84))
    (cause,) = env.ports.causes.active(env.clock.wall())
    assert (cause.kind, cause.address) == (CauseKind.LOGONS_LIMITED, "192.0.2.1")
    assert cause.until == env.clock.wall() + 2100.0


async def test_a_limit_that_cannot_be_told_to_redis_does_not_hide_the_refusal(
    env: PolicyEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreUnavailable("logon_limited")

    monkeypatch.setattr(env.limiter, "was_limited", away)
    with capture_logs() as lines:
        await env.ended(LogOnRefused("logon", 84))
    assert [one["event"] for one in lines] == ["rate_limit_not_stored"]


@pytest.mark.parametrize("failure", [logged_off(None), LeaseLost("axe", 1), StoreUnavailable("x")])
async def test_what_is_not_ours_to_give_stays_leased(env: PolicyEnv, failure: Exception) -> None:
    await env.ended(failure, logged_on=True)
    assert env.store.held == {"axe": 1}


async def test_an_unexpected_error_rests_the_account_longer_each_time(env: PolicyEnv) -> None:
    """Its text may contain a secret and is not stored."""
    pauses = []
    for error in (ValueError("pw"), KeyError("pw"), UnicodeError("pw"), *[TypeError("pw")] * 4):
        await env.ended(error)
        seconds, reason = env.store.cooldowns.pop("axe")
        assert reason == f"an unexpected error in a bot: {type(error).__name__}"
        pauses.append(seconds)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    await env.clock.advance(FORGET_S)
    await env.ended(ValueError("pw"))
    assert env.store.cooldowns["axe"][0] == 30


@pytest.mark.parametrize("failure", [OSError(28, "disk"), MemoryError(), BlockingIOError()])
async def test_what_this_machine_lacks_rests_no_account(env: PolicyEnv, failure: Exception) -> None:
    await env.ended(failure)
    assert env.store.cooldowns == {}
    assert env.store.held == {}


def test_a_need_is_told_in_the_words_of_who_found_it() -> None:
    for eresult in range(200):
        for with_password in (False, True):
            result = classify_logon(eresult, with_password=with_password)
            assert not HANDLING[result].needs_operator or eresult in OPERATOR_ACTION, eresult


async def test_a_persons_need_is_told_as_it_was_found(env: PolicyEnv) -> None:
    need = NeedsHuman("axe", "a code")
    assert (await env.ended(need)).classify(need).action == "a code"


# P14: the property of this instance that causes each failure; other instances are not affected.
FAULTS_OF_THIS_INSTANCE: list[tuple[str, Exception]] = [
    ("key", CannotDecrypt("axe", "password")),
    ("key", CannotDecrypt("axe", "auth state")),
    ("clock", ClockUncertain(88)),
    ("clock", SteamUnreachable("connect", "certificate is not yet valid")),
    ("address", LogOnRefused("logon", 72)),
    ("address", LogOnRefused("credentials", 72)),
    ("address", logged_off(72)),
    ("address", LogOnRefused("credentials", 84)),
    ("address", LogOnRefused("logon", 105)),
    ("address", SteamUnreachable("connect", "network is unreachable")),
    ("resolver", SteamUnreachable("directory", "cannot resolve cm")),
    ("disk", StoreUnavailable("save_auth", "MISCONF unable to persist to disk")),
    ("disk", StoreMisused("save_auth", "WRONGTYPE")),
    ("version", LogOnRefused("logon", 7)),
]


@pytest.mark.parametrize(
    ("cause", "failure"),
    FAULTS_OF_THIS_INSTANCE,
    ids=[str(one) for _, one in FAULTS_OF_THIS_INSTANCE],
)
async def test_a_fault_of_this_instance_is_no_cooldown_for_all(
    env: PolicyEnv, cause: str, failure: Exception
) -> None:
    """The account stays available to other instances."""
    for _ in range(5):
        await env.ended(failure)
        env.store.held.clear()  # a lease that is kept lapses
        env.store.free("axe")
    assert "cool_down" not in env.script.calls, cause
    assert env.store.cooldowns == {}


NOT_HERE = [CannotDecrypt("axe", "password"), ClockUncertain(88), LogOnRefused("logon", 72)]


@pytest.mark.parametrize("failure", NOT_HERE, ids=str)
async def test_what_this_instance_cannot_use_it_gives_back_avoids_and_says_once(
    env: PolicyEnv, failure: Exception
) -> None:
    with capture_logs() as lines:
        policy = await env.ended(failure)
        await env.ended(failure)
    assert env.store.held == {}
    assert {account: s for account, (s, _) in env.store.avoid_marks.items()} == {"axe": AVOID_S}
    assert (policy.consequences.result, policy.classify(failure).action) == (
        LogonResult.NOT_HERE,
        None,
    )
    assert [(one["event"], one["log_level"]) for one in lines] == [
        ("account_unusable_here", "error")
    ]


async def test_a_wrong_key_is_logged_once_for_all_accounts_and_an_address_for_each(
    env: PolicyEnv,
) -> None:
    with capture_logs() as lines:
        for account in ("axe", "bane"):
            for failure in (CannotDecrypt(account, "password"), LogOnRefused("logon", 72)):
                await env.ended(failure, account=account)
    reasons = [str(one["reason"]) for one in lines]
    assert [("BOTAPI_SECRET_KEY" in one, "egress address" in one) for one in reasons] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_every_result_is_handled() -> None:
    assert set(HANDLING) == {None, *LogonResult}


def test_no_result_marks_both_the_cm_and_the_address() -> None:
    assert not any(one.marks_cm and one.stops_ip for one in HANDLING.values())


def test_failures_are_counted_by_account_and_result_and_forgotten_after_hours() -> None:
    failures = FailureCounter()
    assert failures.add("axe", LogonResult.UNKNOWN, 0.0).count == 1
    assert failures.add("axe", LogonResult.UNKNOWN, 10.0) == FailureSeries(0.0, 10.0, 2)
    assert failures.add("axe", LogonResult.WRONG_PASSWORD, 10.0).count == 1
    assert failures.add("bane", LogonResult.UNKNOWN, 10.0).count == 1
    later = 10.0 + FORGET_S
    assert failures.add("axe", LogonResult.UNKNOWN, later) == FailureSeries(later, later, 1)


def test_a_failure_is_retracted_once_and_the_earlier_ones_stay() -> None:
    failures = FailureCounter()
    failures.add("axe", LogonResult.UNKNOWN, 0.0)
    failures.add("axe", LogonResult.UNKNOWN, 10.0)
    assert failures.note_cooldown("axe", LogonResult.UNKNOWN, "why")
    assert failures.retract("axe", LogonResult.UNKNOWN) == "why"
    assert failures.retract("axe", LogonResult.UNKNOWN) is None
    assert not failures.note_cooldown("axe", LogonResult.UNKNOWN, "why")
    assert failures.add("axe", LogonResult.UNKNOWN, 20.0).count == 2


async def test_each_unknown_number_is_logged_once_and_a_known_one_never(env: PolicyEnv) -> None:
    with capture_logs() as lines:
        for eresult in (4711, 4711, 20, 116, 4711, 116, 26):
            await env.ended(LogOnRefused("logon", eresult))
    lines = [one for one in lines if one["event"] == "eresult_unknown"]
    assert [one["eresult"] for one in lines] == [4711, 116]
    assert is_known(20)
