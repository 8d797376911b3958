"""Every result that Steam may give, in every phase, and its consequences for a real bot.

The expectations are written out here, from the same facts as `eresults.py` and `failure_policy.py` in
`actors/bot` but not from them: two readings that have to agree. Results 116 and 4711 are in no table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from support.bot_env import POLICY, BotEnv, BotRun
from support.valkey import prefix, valkey_url  # noqa: F401 - fixtures

from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.states import BotState
from bench.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

NAME = "abaddon"
MINUTE = 60.0


@dataclass(frozen=True)
class End:
    """How a run ends, and what it leaves."""

    state: BotState = BotState.BACKING_OFF
    cools_for: float | None = None  # seconds
    marks_cm: bool = False
    stops_ip: bool = False
    forgets_token: bool = False
    keeps_lease: bool = False
    tells: str | None = None  # an error in the log


AGAIN = End()  # the account is free at once; the supervisor backs the bot off
ELSEWHERE = End(marks_cm=True)
LATER = End(marks_cm=True)  # with a longer backoff
NEW_TOKEN = End(forgets_token=True)  # the next run uses the password
WRONG_PASSWORD = End(BotState.NEEDS_HUMAN, cools_for=30 * MINUTE, tells="account_needs_human")
IN_USE = End(cools_for=5 * MINUTE)
TWIN = End(cools_for=2 * MINUTE)
LIMITED = End(stops_ip=True)
THROTTLED = End(stops_ip=True, cools_for=30 * MINUTE)
PERSON = End(BotState.NEEDS_HUMAN, cools_for=UNTIL_ACTED_S, tells="account_needs_human")
DOUBTFUL = End(cools_for=2 * MINUTE)  # the first time; see test_bot_failure_policy for the second
ALL_STOP = End(BotState.NEEDS_HUMAN, stops_ip=True, tells="account_needs_human")
NOT_HERE = End(tells="account_unusable_here")  # other instances may be able to use it
UNSEEN = End(cools_for=2 * MINUTE)

# Result, its name in Steam's list, and the end: refused with a token, in the credential flow, logged off.
ROWS: list[tuple[int, str, End, End, End]] = [
    (0, "Invalid", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (2, "Fail", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (3, "NoConnection", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (5, "InvalidPassword", NEW_TOKEN, WRONG_PASSWORD, NEW_TOKEN),
    (6, "LoggedInElsewhere", IN_USE, IN_USE, IN_USE),
    (7, "InvalidProtocolVer", ALL_STOP, ALL_STOP, ALL_STOP),
    (8, "InvalidParam", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (9, "FileNotFound", AGAIN, AGAIN, AGAIN),
    (10, "Busy", AGAIN, AGAIN, AGAIN),
    (15, "AccessDenied", NEW_TOKEN, PERSON, NEW_TOKEN),
    (16, "Timeout", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (17, "Banned", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (18, "AccountNotFound", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (19, "InvalidSteamID", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (20, "ServiceUnavailable", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (21, "NotLoggedOn", AGAIN, AGAIN, AGAIN),
    (25, "LimitExceeded", LIMITED, LIMITED, LIMITED),
    (26, "Revoked", NEW_TOKEN, PERSON, NEW_TOKEN),
    (27, "Expired", NEW_TOKEN, AGAIN, NEW_TOKEN),
    (29, "DuplicateRequest", AGAIN, AGAIN, AGAIN),
    (34, "LogonSessionReplaced", TWIN, TWIN, TWIN),
    (35, "ConnectFailed", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (36, "HandshakeFailed", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (38, "RemoteDisconnect", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (43, "AccountDisabled", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (48, "TryAnotherCM", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (49, "PasswordRequiredToKickSession", IN_USE, IN_USE, IN_USE),
    (50, "AlreadyLoggedInElsewhere", IN_USE, IN_USE, IN_USE),
    (51, "Suspended", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (55, "RemoteCallFailed", ELSEWHERE, ELSEWHERE, ELSEWHERE),
    (63, "AccountLogonDenied", PERSON, PERSON, PERSON),
    (65, "InvalidLoginAuthCode", PERSON, PERSON, PERSON),
    (66, "AccountLogonDeniedNoMail", PERSON, PERSON, PERSON),
    (71, "ExpiredLoginAuthCode", PERSON, PERSON, PERSON),
    (72, "IPLoginRestrictionFailed", NOT_HERE, NOT_HERE, NOT_HERE),
    (73, "AccountLockedDown", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (74, "AccountLogonDeniedVerifiedEmailRequired", PERSON, PERSON, PERSON),
    (77, "RequirePasswordReEntry", PERSON, PERSON, PERSON),
    (80, "Disabled", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (84, "RateLimitExceeded", LIMITED, LIMITED, LIMITED),
    (85, "AccountLoginDeniedNeedTwoFactor", PERSON, PERSON, PERSON),
    (87, "AccountLoginDeniedThrottle", THROTTLED, THROTTLED, THROTTLED),
    (88, "TwoFactorCodeMismatch", PERSON, PERSON, PERSON),
    (89, "TwoFactorActivationCodeMismatch", PERSON, PERSON, PERSON),
    (101, "NeedCaptcha", PERSON, PERSON, PERSON),
    (102, "GSLTDenied", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (105, "IPBanned", ALL_STOP, ALL_STOP, ALL_STOP),
    (106, "GSLTExpired", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (112, "LimitedUserAccount", AGAIN, AGAIN, AGAIN),
    (114, "AccountDeleted", DOUBTFUL, DOUBTFUL, DOUBTFUL),
    (116, "(unseen)", UNSEEN, UNSEEN, AGAIN),
    (118, "MustAgreeToSSA", PERSON, PERSON, PERSON),
    (123, "NoVerifiedPhone", AGAIN, AGAIN, AGAIN),
    (126, "CachedCredentialInvalid", NEW_TOKEN, PERSON, NEW_TOKEN),
    (131, "TryLater", LATER, LATER, LATER),
    (4711, "(unseen)", UNSEEN, UNSEEN, AGAIN),
]
UNSEEN_RESULTS = {116, 4711}
# A new token that is refused: the password was used just before and is not used again.
FRESH_TOKEN_ROWS = [(5, WRONG_PASSWORD), (15, PERSON), (26, PERSON), (27, AGAIN), (126, PERSON)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    accounts = [{"name": NAME, "password": "mist-coil-1"}]
    with SandboxProcess(accounts, ("--websocket-cms", "1")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def env(sandbox: SandboxProcess, valkey_url: str) -> AsyncIterator[BotEnv]:  # noqa: F811
    async with BotEnv(sandbox, valkey_url) as env:
        yield env


def cases(column: int) -> list[object]:
    return [pytest.param(row[0], row[column], id=f"{row[0]}-{row[1]}") for row in ROWS]


async def check(run: BotRun, expected: End, lines: list[str]) -> None:
    """Compare what a run has left."""
    await run.end()
    cooldown_s = await run.cooldown_s()
    found = End(
        state=run.states[-1],
        cools_for=expected.cools_for,
        marks_cm=bool(run.directory.marked),
        stops_ip=await run.ip_is_stopped(),
        forgets_token=not await run.token(),
        keeps_lease=await run.is_leased(),
        tells=lines[0] if lines else None,
    )
    assert found == expected
    assert len(lines) <= 1
    assert cooldown_s == (expected.cools_for and pytest.approx(expected.cools_for, abs=5.0))


def errors(lines: Sequence[Mapping[str, object]]) -> list[str]:
    return [str(one["event"]) for one in lines if one["log_level"] == "error"]


def unknown(lines: Sequence[Mapping[str, object]]) -> list[object]:
    return [one["eresult"] for one in lines if one["event"] == "eresult_unknown"]


@pytest.mark.parametrize(("eresult", "expected"), cases(2))
async def test_a_token_refused_with(
    env: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    await env.sandbox.faults(logon_eresult=eresult)
    with capture_logs() as lines:
        run = await env.start_bot(NAME, prefix, with_token=True)
        await run.end()
    await env.sandbox.clear_faults()
    await check(run, expected, errors(lines))
    assert BotState.LAUNCHING not in run.states
    assert unknown(lines) == ([eresult] if eresult in UNSEEN_RESULTS else [])


@pytest.mark.parametrize(("eresult", "expected"), cases(3))
async def test_a_password_refused_with(
    env: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    await env.sandbox.faults(credential_eresult=eresult)
    with capture_logs() as lines:
        run = await env.start_bot(NAME, prefix, with_token=False)
        await run.end()
    await env.sandbox.clear_faults()
    await check(run, replace(expected, forgets_token=True), errors(lines))  # there was none
    assert BotState.LAUNCHING not in run.states
    assert unknown(lines) == ([eresult] if eresult in UNSEEN_RESULTS else [])


@pytest.mark.parametrize(("eresult", "expected"), [pytest.param(1, AGAIN, id="1-OK"), *cases(4)])
async def test_logged_off_when_ready_with(
    env: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    with capture_logs() as lines:
        run = await env.start_bot(NAME, prefix, with_token=True)
        await run.until(BotState.READY)
        assert await env.sandbox.log_off(eresult) == 1
        await run.end()
    await check(run, expected, errors(lines))
    assert unknown(lines) == ([eresult] if eresult in UNSEEN_RESULTS else [])


@pytest.mark.parametrize(("eresult", "expected"), FRESH_TOKEN_ROWS)
async def test_a_fresh_token_refused_with(
    env: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    await env.sandbox.faults(logon_eresult=eresult)
    with capture_logs() as lines:
        run = await env.start_bot(NAME, prefix, with_token=False)
        await run.end()
    await env.sandbox.clear_faults()
    await check(run, replace(expected, forgets_token=True), errors(lines))


# Without a result: the connection ends, or nothing arrives. The lease is kept for the next run, because
# Steam may still hold the session; before the log-on the CM is the culprit.
GONE = End(marks_cm=True, keeps_lease=True)


@pytest.mark.parametrize(
    ("faults", "with_token"),
    [
        ({"refuse_connect": True}, True),
        ({"accept_and_silence": True}, True),
        ({"close_handshake": True}, True),
        ({"tls_untrusted": True}, True),
        ({"logon_never_answered": True}, True),
        ({"logon_corrupt": "gzip"}, True),
        ({"logon_never_answered": True}, False),
    ],
    ids=str,
)
async def test_a_log_on_that_gets_no_result(
    env: BotEnv,
    prefix: str,  # noqa: F811
    faults: dict[str, object],
    *,
    with_token: bool,
) -> None:
    await env.sandbox.faults(**faults)
    run = await env.start_bot(NAME, prefix, with_token=with_token)
    await run.end()
    await env.sandbox.clear_faults()
    await check(run, GONE, [])


async def test_a_log_on_answered_in_the_old_form_is_trouble_of_the_cm(
    env: BotEnv,
    prefix: str,  # noqa: F811
) -> None:
    await env.sandbox.faults(logon_struct=2)
    run = await env.start_bot(NAME, prefix, with_token=True)
    await run.end()
    await env.sandbox.clear_faults()
    await check(run, ELSEWHERE, [])


@pytest.mark.parametrize("mode", ["close", "reset", "mid_message"])
async def test_a_session_that_ends_without_a_result(
    env: BotEnv,
    prefix: str,  # noqa: F811
    mode: str,
) -> None:
    run = await env.start_bot(NAME, prefix, with_token=True)
    await run.until(BotState.READY)
    await env.sandbox.drop(mode)
    await run.end()
    await check(run, End(keeps_lease=True), [])


async def test_a_gc_that_does_not_welcome_marks_no_culprit(
    env: BotEnv,
    prefix: str,  # noqa: F811
) -> None:
    await env.sandbox.faults(gc_down="silent")
    policy = replace(POLICY, launch_s=0.2)
    run = await env.start_bot(NAME, prefix, with_token=True, policy=policy)
    await run.end()
    await env.sandbox.clear_faults()
    await check(run, AGAIN, [])
