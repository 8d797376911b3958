"""Log-ons with password, Steam Guard and tokens, over both transports, against the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from support.steam_env import ACCOUNTS, SteamEnv

from actors.errors import LogOnRefused, NeedsHuman, SteamUnreachable
from actors.steam.port import AuthState, Dropped, GuardKind, GuardRequest, TransportKind
from actors.steam.session import log_on_id
from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


@pytest.fixture(params=list(TransportKind), ids=str)
async def env(sandbox: SandboxProcess, request: pytest.FixtureRequest) -> AsyncIterator[SteamEnv]:
    async with SteamEnv(sandbox, request.param) as env:
        yield env
    await sandbox.clear_faults()


async def newest_code(env: SteamEnv) -> str:
    return str((await env.sandbox.mailbox("mail"))[-1]["code"])


async def test_a_password_alone_is_enough_without_guard(env: SteamEnv) -> None:
    since = await env.sandbox.last_event()
    bot = await env.open("abaddon")
    auth = await bot.authenticate()
    assert auth.refresh_token.count(".") == 2
    assert auth.guard_data is None
    logged_on = await bot.log_on()
    assert logged_on.steam_id == auth.steam_id
    assert (logged_on.public_ip, logged_on.heartbeat_s) == ("127.0.0.1", 9.0)
    assert bot.events == []
    (entry,) = await env.sandbox.journal("token_logon", since=since)
    assert entry["logon_id"] == log_on_id("abaddon")
    assert entry["steamid"] == str(auth.steam_id)


async def test_a_token_alone_is_enough_from_then_on(env: SteamEnv) -> None:
    first = await env.logged_on("abaddon")
    await first.link.log_off(timeout_s=4)
    since = await env.sandbox.last_event()
    second = await env.open("abaddon")
    await second.log_on(first.auth)
    kinds = {one["kind"] for one in await env.sandbox.journal(since=since)}
    assert "token_logon" in kinds
    assert not kinds & {"rsa_key_request", "credentials_begun"}


async def test_a_totp_code_is_made_from_the_secret(env: SteamEnv) -> None:
    bot = await env.logged_on(f"totp-{env.transport}")
    assert bot.auth is not None
    assert bot.auth.guard_data is None


async def test_a_mailed_code_is_asked_for_and_guard_data_saves_the_next_one(env: SteamEnv) -> None:
    asked: list[GuardRequest] = []

    async def from_the_mailbox(request: GuardRequest) -> str:
        asked.append(request)
        return await newest_code(env)

    bot = await env.open("mail")
    auth = await bot.authenticate(from_the_mailbox)
    await bot.log_on()
    assert [(one.kind, one.hint, one.attempt) for one in asked] == [
        (GuardKind.EMAIL, "example.com", 1)
    ]
    assert auth.guard_data
    mails = len(await env.sandbox.mailbox("mail"))
    again = await env.open("mail")
    second = await again.authenticate(guard_data=auth.guard_data)  # without a question
    assert len(await env.sandbox.mailbox("mail")) == mails
    assert second.guard_data == auth.guard_data
    assert second.refresh_token != auth.refresh_token


async def test_a_wrong_code_may_be_followed_by_the_right_one(env: SteamEnv) -> None:
    async def second_try(request: GuardRequest) -> str:
        return "WRONG" if request.attempt == 1 else await newest_code(env)

    since = await env.sandbox.last_event()
    bot = await env.open("mail")
    await bot.authenticate(second_try)
    codes = await env.sandbox.journal("guard_code", since=since)
    assert [one["eresult"] for one in codes] == [65, 1]


async def test_a_log_on_without_a_code_needs_an_operator(env: SteamEnv) -> None:
    async def no_code(request: GuardRequest) -> None:
        assert request.account == "mail"

    bot = await env.open("mail")
    with pytest.raises(NeedsHuman, match="code"):
        await bot.authenticate(no_code)


async def test_a_code_that_never_comes_ends_with_the_time_limit(env: SteamEnv) -> None:
    ended = asyncio.Event()

    async def never(_: GuardRequest) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    bot = await env.open("mail")
    with pytest.raises(NeedsHuman, match="none was given in time"):
        await bot.link.authenticate(bot.credential, None, never, timeout_s=0.3)
    async with asyncio.timeout(5):
        await ended.wait()


@pytest.mark.parametrize("known", ["abaddon", "absent-account"])
async def test_a_wrong_password_is_refused(env: SteamEnv, known: str) -> None:
    bot = await env.open("abaddon")
    bot.account = {"name": known, "password": "wrong"}
    with pytest.raises(LogOnRefused) as caught:
        await bot.authenticate()
    assert (caught.value.phase, caught.value.eresult) == ("credentials", 5)


async def test_a_revoked_token_is_refused_and_the_connection_closed(env: SteamEnv) -> None:
    bot = await env.open("bane")
    await bot.authenticate()
    await env.sandbox.revoke("bane")
    with pytest.raises(LogOnRefused) as caught:
        await bot.log_on()
    assert (caught.value.phase, caught.value.eresult) == ("logon", 15)
    await bot.wait_event(Dropped)


async def test_a_token_of_another_account_is_refused(env: SteamEnv) -> None:
    other = await env.open("bane")
    auth = await other.authenticate()
    bot = await env.open("abaddon")
    steam_id = (await (await env.open("abaddon")).authenticate()).steam_id
    with pytest.raises(LogOnRefused) as caught:
        await bot.log_on(AuthState(steam_id, auth.refresh_token))
    assert caught.value.eresult == 5


async def test_a_locked_account_is_refused(env: SteamEnv) -> None:
    bot = await env.open("locked")
    with pytest.raises(LogOnRefused, match="73"):
        await bot.log_on()


@pytest.mark.parametrize("eresult", [20, 48, 84, 126, 131, 9999])
async def test_refusals_carry_their_number_known_or_not(env: SteamEnv, eresult: int) -> None:
    bot = await env.open("bane")
    await bot.authenticate()
    await env.sandbox.faults(logon_eresult=eresult)
    with pytest.raises(LogOnRefused) as caught:
        await bot.log_on()
    assert caught.value.eresult == eresult


async def test_a_refusal_of_the_old_kind_is_trouble_of_the_server(env: SteamEnv) -> None:
    bot = await env.open("bane")
    await bot.authenticate()
    await env.sandbox.faults(logon_struct=20)
    with pytest.raises(SteamUnreachable) as caught:
        await bot.log_on()
    assert caught.value.eresult == 20


@pytest.mark.parametrize("flaw", ["gzip", "unzipped_size", "inner_length", "header"])
async def test_an_unreadable_answer_to_the_logon_is_trouble_of_the_server(
    env: SteamEnv, flaw: str
) -> None:
    bot = await env.open("bane")
    await bot.authenticate()
    await env.sandbox.faults(logon_corrupt=flaw)
    with pytest.raises(SteamUnreachable, match="garbage"):
        await bot.log_on()


async def test_a_logon_that_is_never_answered_ends_with_its_time_limit(env: SteamEnv) -> None:
    bot = await env.open("bane")
    auth = await bot.authenticate()
    await env.sandbox.faults(logon_never_answered=True)
    started = asyncio.get_running_loop().time()
    with pytest.raises(SteamUnreachable, match="logon"):
        await bot.link.log_on("bane", auth, timeout_s=0.3)
    assert asyncio.get_running_loop().time() - started < 2


async def test_unknown_guard_kinds_before_the_real_ones_are_skipped(env: SteamEnv) -> None:
    await env.sandbox.faults(guard_types=[6, 99])
    bot = await env.open("mail")

    async def code(_: GuardRequest) -> str:
        return await newest_code(env)

    await bot.authenticate(code)
    await bot.log_on()


async def test_log_off_is_clean(env: SteamEnv) -> None:
    for _ in range(3):  # some CMs answer with ClientLoggedOff, some just close
        bot = await env.logged_on("bane")
        since = await env.sandbox.last_event()
        await bot.link.log_off(timeout_s=4)
        await bot.link.close()
        (ended,) = await env.sandbox.wait_journal("session_ended", since=since)
        assert (ended["clean"], ended["reason"], ended["account"]) == (True, "log_off", "bane")
        assert bot.events == []


async def test_a_session_is_replaced_by_its_twin(env: SteamEnv) -> None:
    first = await env.logged_on("bane")
    second = await env.open("bane")
    await second.log_on(first.auth)
    dropped = await first.wait_event(Dropped)
    assert dropped.eresult == 34
    assert second.events == []


async def test_a_log_on_that_names_no_public_ip_is_charged_all_the_same(env: SteamEnv) -> None:
    await env.sandbox.faults(logon_no_public_ip=True)
    logged_on = await (await env.open("bane")).log_on()
    assert (logged_on.public_ip, logged_on.egress_ip) == (None, "127.0.0.1")
