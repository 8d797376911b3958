"""Every result that Steam may give, at every place where it may give it: what a real bot makes of it.

The expectations are written out here, from the same facts as `actors/bot/eresults.py` but not from it:
two readings that have to agree. Results 116 and 4711 are in no table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from support.bot_env import POLICY, BotEnv, Stand
from support.valkey import prefix, valkey_url  # noqa: F401 - fixtures

from actors.accounts.models import UNTIL_ACTED_S
from actors.bot.states import BotState
from bench.sandbox_process import SandboxProcess

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

NAME = "abaddon"
MINUTE = 60.0


@dataclass(frozen=True)
class End:
    """How a life ends, and what it leaves behind."""

    state: BotState = BotState.BACKING_OFF
    cools_for: float | None = None  # seconds
    marks_cm: bool = False
    stops_ip: bool = False
    forgets_token: bool = False
    keeps_lease: bool = False
    tells: str | None = None  # an error that a person reads


AGAIN = End()  # the account is free at once; the supervisor backs the bot off
ELSEWHERE = End(marks_cm=True)
LATER = End(marks_cm=True)  # and the next backoff is longer
NEW_TOKEN = End(forgets_token=True)  # the next life takes the password
WRONG_PASSWORD = End(BotState.NEEDS_HUMAN, cools_for=30 * MINUTE, tells="account_needs_human")
IN_USE = End(cools_for=5 * MINUTE)
TWIN = End(cools_for=2 * MINUTE)
LIMITED = End(stops_ip=True)
THROTTLED = End(stops_ip=True, cools_for=30 * MINUTE)
PERSON = End(BotState.NEEDS_HUMAN, cools_for=UNTIL_ACTED_S, tells="account_needs_human")
DOUBTFUL = End(cools_for=2 * MINUTE)  # the first time; see test_bot_failure_policy for the second
ALL_STOP = End(BotState.NEEDS_HUMAN, stops_ip=True, tells="account_needs_human")
NOT_HERE = End(tells="account_unusable_here")  # another instance, from elsewhere, may use it
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
# A fresh token that is refused: the password has just been taken, and is not taken again.
FRESH_TOKEN_ROWS = [(5, WRONG_PASSWORD), (15, PERSON), (26, PERSON), (27, AGAIN), (126, PERSON)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    accounts = [{"name": NAME, "password": "mist-coil-1"}]
    with SandboxProcess(accounts, ("--websocket-cms", "1")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(sandbox: SandboxProcess, valkey_url: str) -> AsyncIterator[BotEnv]:  # noqa: F811
    async with BotEnv(sandbox, valkey_url) as rig:
        yield rig


def cases(column: int) -> list[object]:
    return [pytest.param(row[0], row[column], id=f"{row[0]}-{row[1]}") for row in ROWS]


async def check(stand: Stand, expected: End, told: list[str]) -> None:
    """Compare what a life has left behind."""
    await stand.end()
    cooldown_s = await stand.cooldown_s()
    found = End(
        state=stand.states[-1],
        cools_for=expected.cools_for,
        marks_cm=bool(stand.directory.marked),
        stops_ip=await stand.ip_is_stopped(),
        forgets_token=not await stand.token(),
        keeps_lease=await stand.is_leased(),
        tells=told[0] if told else None,
    )
    assert found == expected
    assert len(told) <= 1
    assert cooldown_s == (expected.cools_for and pytest.approx(expected.cools_for, abs=5.0))


def errors(lines: Sequence[Mapping[str, object]]) -> list[str]:
    return [str(one["event"]) for one in lines if one["log_level"] == "error"]


def unknown(lines: Sequence[Mapping[str, object]]) -> list[object]:
    return [one["eresult"] for one in lines if one["event"] == "eresult_unknown"]


@pytest.mark.parametrize(("eresult", "expected"), cases(2))
async def test_a_token_refused_with(
    rig: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    await rig.sandbox.faults(logon_eresult=eresult)
    with capture_logs() as lines:
        stand = await rig.stand(NAME, prefix, with_token=True)
        await stand.end()
    await rig.sandbox.clear_faults()
    await check(stand, expected, errors(lines))
    assert BotState.LAUNCHING not in stand.states
    assert unknown(lines) == ([eresult] if eresult in UNSEEN_RESULTS else [])


@pytest.mark.parametrize(("eresult", "expected"), cases(3))
async def test_a_password_refused_with(
    rig: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    await rig.sandbox.faults(credential_eresult=eresult)
    with capture_logs() as lines:
        stand = await rig.stand(NAME, prefix, with_token=False)
        await stand.end()
    await rig.sandbox.clear_faults()
    await check(stand, replace(expected, forgets_token=True), errors(lines))  # there was none
    assert BotState.LAUNCHING not in stand.states
    assert unknown(lines) == ([eresult] if eresult in UNSEEN_RESULTS else [])


@pytest.mark.parametrize(("eresult", "expected"), [pytest.param(1, AGAIN, id="1-OK"), *cases(4)])
async def test_logged_off_when_ready_with(
    rig: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    with capture_logs() as lines:
        stand = await rig.stand(NAME, prefix, with_token=True)
        await stand.until(BotState.READY)
        assert await rig.sandbox.log_off(eresult) == 1
        await stand.end()
    await check(stand, expected, errors(lines))
    assert unknown(lines) == ([eresult] if eresult in UNSEEN_RESULTS else [])


@pytest.mark.parametrize(("eresult", "expected"), FRESH_TOKEN_ROWS)
async def test_a_fresh_token_refused_with(
    rig: BotEnv,
    prefix: str,  # noqa: F811
    eresult: int,
    expected: End,
) -> None:
    await rig.sandbox.faults(logon_eresult=eresult)
    with capture_logs() as lines:
        stand = await rig.stand(NAME, prefix, with_token=False)
        await stand.end()
    await rig.sandbox.clear_faults()
    await check(stand, replace(expected, forgets_token=True), errors(lines))


# Without a result: the connection ends, or nothing comes. The lease is kept for the next life, because
# Steam may not know that the session ended; while no session is logged on, the CM is the cause.
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
    rig: BotEnv,
    prefix: str,  # noqa: F811
    faults: dict[str, object],
    *,
    with_token: bool,
) -> None:
    await rig.sandbox.faults(**faults)
    stand = await rig.stand(NAME, prefix, with_token=with_token)
    await stand.end()
    await rig.sandbox.clear_faults()
    await check(stand, GONE, [])


async def test_a_log_on_answered_in_the_old_form_is_trouble_of_the_cm(
    rig: BotEnv,
    prefix: str,  # noqa: F811
) -> None:
    await rig.sandbox.faults(logon_struct=2)
    stand = await rig.stand(NAME, prefix, with_token=True)
    await stand.end()
    await rig.sandbox.clear_faults()
    await check(stand, ELSEWHERE, [])


@pytest.mark.parametrize("mode", ["close", "reset", "mid_message"])
async def test_a_session_that_ends_without_a_result(
    rig: BotEnv,
    prefix: str,  # noqa: F811
    mode: str,
) -> None:
    stand = await rig.stand(NAME, prefix, with_token=True)
    await stand.until(BotState.READY)
    await rig.sandbox.drop(mode)
    await stand.end()
    await check(stand, End(keeps_lease=True), [])


async def test_a_gc_that_does_not_welcome_blames_nobody(
    rig: BotEnv,
    prefix: str,  # noqa: F811
) -> None:
    await rig.sandbox.faults(gc_down="silent")
    policy = replace(POLICY, launch_s=0.2)
    stand = await rig.stand(NAME, prefix, with_token=True, policy=policy)
    await stand.end()
    await rig.sandbox.clear_faults()
    await check(stand, AGAIN, [])
