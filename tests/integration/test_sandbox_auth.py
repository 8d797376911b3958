"""The credential flow for each kind of Steam Guard, tokens, and refused log-ons."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from steam.guard import generate_twofactor_code
from steam.protobufs import steammessages_auth_pb2 as auth_pb
from steam.protobufs import steammessages_clientserver_login_pb2 as login_pb
from support.sandbox_client import SandboxClient, ServiceError, claims_of, logged_on, steamid_of
from support.sandbox_connection import Connecting

from bench.sandbox_process import SandboxProcess

pytestmark = pytest.mark.integration

SECRET = base64.b64encode(b"a shared secret 1234").decode()
PLAIN = {"name": "plain", "password": "p1"}
MAILED = {"name": "mailed", "password": "p2", "email_code": "AB2CD"}
PHONED = {"name": "phoned", "password": "p3", "shared_secret": SECRET}
BRIEF = {"name": "brief", "password": "p4", "token_lifetime_s": 0.5}
ENDING = {"name": "ending", "password": "p5", "token_lifetime_s": 86400 * 20}
DISABLED = {"name": "disabled", "password": "p6", "disabled": True}
LOCKED = {"name": "locked", "password": "p7", "locked": True}
SSA = {"name": "ssa", "password": "p8", "needs_ssa": True}
ACCOUNTS: list[dict[str, Any]] = [PLAIN, MAILED, PHONED, BRIEF, ENDING, DISABLED, LOCKED, SSA]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess(ACCOUNTS) as running:
        yield running


def kinds(begun: Any) -> list[int]:
    return [one.confirmation_type for one in begun.allowed_confirmations]


async def eresult_of(client: SandboxClient, name: str, password: str) -> int:
    with pytest.raises(ServiceError) as caught:
        await client.begin(name, password)
    return caught.value.eresult


async def test_an_account_without_guard_is_approved_at_once(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("plain", "p1")
        assert kinds(begun) == [1]
        answer = await client.poll(begun)
        assert answer.account_name == "plain"
        assert answer.access_token
        assert not answer.new_guard_data
        with pytest.raises(ServiceError, match="9"):
            await client.poll(begun)  # consumed
    claims = claims_of(answer.refresh_token)
    assert claims["aud"] == ["client", "web", "renew", "derive"]
    assert steamid_of(answer.refresh_token) == begun.steamid


async def test_wrong_passwords_and_names_are_refused(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "netfilter") as client:
        await client.hello()
        assert await eresult_of(client, "plain", "wrong") == 5
        assert await eresult_of(client, "unknown", "p1") == 5
    [*_, event] = await sandbox.wait_journal("credentials_begun", account="unknown")
    assert event["eresult"] == 5


async def test_a_timestamp_that_was_not_issued_is_refused(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        request = auth_pb.CAuthentication_BeginAuthSessionViaCredentials_Request(
            account_name="plain", encrypted_password="AAAA", encryption_timestamp=5
        )
        request.device_details.platform_type = 1
        with pytest.raises(ServiceError, match="8"):
            await client.service(
                "BeginAuthSessionViaCredentials",
                request,
                auth_pb.CAuthentication_BeginAuthSessionViaCredentials_Response,
            )


async def test_an_email_code_is_mailed_and_guard_data_replaces_the_next_one(
    sandbox: SandboxProcess,
) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("mailed", "p2")
        assert kinds(begun) == [2]
        assert begun.allowed_confirmations[0].associated_message
        [mail] = await sandbox.mailbox("mailed")
        with pytest.raises(ServiceError, match="65"):
            await client.submit(begun, "XXXXX", 2)
        waiting = await client.poll(begun)
        assert not waiting.refresh_token
        client_id = waiting.new_client_id or begun.client_id
        begun.client_id = client_id
        await client.submit(begun, mail["code"], 2)
        with pytest.raises(ServiceError, match="29"):
            await client.submit(begun, mail["code"], 2)
        answer = await client.poll(begun)
        assert answer.refresh_token
        assert claims_of(answer.new_guard_data)["aud"] == ["machine"]
        again = await client.begin("mailed", "p2", answer.new_guard_data)
        assert kinds(again) == [1]
        foreign = await client.begin("mailed", "p2", answer.refresh_token)
        assert kinds(foreign) == [2]
    assert len(await sandbox.mailbox("mailed")) == 2


async def test_each_begin_mails_a_code_of_its_own(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        first, second = [await client.begin("mailed", "p2") for _ in range(2)]
        *_, before, newest = [mail["code"] for mail in await sandbox.mailbox("mailed")]
        assert before != newest
        for code in (newest.lower(), f"{newest} "):
            with pytest.raises(ServiceError, match="65"):
                await client.submit(second, code, 2)
        await client.submit(second, before, 2)  # as node-steam-user does
        with pytest.raises(ServiceError, match="65"):
            await client.submit(first, before, 2)  # valid once
        await client.submit(first, newest, 2)


async def test_a_totp_code_is_good_once(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("phoned", "p3")
        assert kinds(begun) == [3, 4]
        code = generate_twofactor_code(base64.b64decode(SECRET))
        with pytest.raises(ServiceError, match="88"):
            await client.submit(begun, "22222", 3)
        await client.submit(begun, code, 3)
        assert (await client.poll(begun)).refresh_token
        second = await client.begin("phoned", "p3")
        with pytest.raises(ServiceError, match="88"):
            await client.submit(second, code, 3)


async def test_the_owner_can_approve_or_deny_in_the_app(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("phoned", "p3")
        await sandbox.call("POST", "/auth/decide", {"account": "phoned", "approve": True})
        assert (await client.poll(begun)).refresh_token
        denied = await client.begin("phoned", "p3")
        await sandbox.call("POST", "/auth/decide", {"account": "phoned", "approve": False})
        with pytest.raises(ServiceError, match="9"):
            await client.poll(denied)


async def test_an_unknown_guard_type_can_be_offered(sandbox: SandboxProcess) -> None:
    await sandbox.faults(guard_types=[99])
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("plain", "p1")
        raw = [entry.SerializeToString() for entry in begun.allowed_confirmations]
        assert b"\x08\x63" in raw[0]  # the package's enum does not know 99
        assert (await client.poll(begun)).refresh_token
    await sandbox.clear_faults()


async def test_a_client_id_is_rotated_now_and_then(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("mailed", "p2")
        for _ in range(100):
            answer = await client.poll(begun)
            if answer.new_client_id:
                break
        with pytest.raises(ServiceError, match="9"):
            await client.poll(begun)
        await client.poll(begun, client_id=answer.new_client_id)


async def renew(client: SandboxClient, token: str, emsg: int = 151) -> tuple[str, str]:
    """Renew a token; return the access token and the new refresh token ("" if there is none)."""
    request = auth_pb.CAuthentication_AccessToken_GenerateForApp_Request(
        refresh_token=token, steamid=steamid_of(token)
    ).SerializeToString()
    answer = await client.service(
        "GenerateAccessTokenForApp",
        request + b"\x18\x01",  # renewal_type is newer than the package
        auth_pb.CAuthentication_AccessToken_GenerateForApp_Response,
        emsg,
    )
    fresh = [row.data for row in answer.UnknownFields() if row.field_number == 2]
    return answer.access_token, fresh[0].decode() if fresh else ""


async def test_a_young_token_is_not_renewed(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        token = await logged_on(client, PLAIN)
        access, fresh = await renew(client, token)
        assert claims_of(access)["iss"] == f"r:{claims_of(token)['jti']}"
        assert fresh == ""


async def test_a_token_near_its_expiry_is_renewed_and_then_revoked(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        old = await logged_on(client, ENDING)
        _, fresh = await renew(client, old)
        assert steamid_of(fresh) == steamid_of(old)
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        assert (await client.log_on(old, steamid_of(old))).eresult == 15
    async with Connecting(sandbox, "websockets") as client:
        assert (await client.log_on(fresh, steamid_of(fresh))).eresult == 1


async def test_a_renewal_needs_the_accounts_own_session(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        token = await client.token("plain", "p1")
        with pytest.raises(ServiceError, match="15"):
            await renew(client, token, emsg=9804)
        own = await logged_on(client, ENDING)
        with pytest.raises(ServiceError, match="15"):
            await renew(client, token)
        with pytest.raises(ServiceError, match="15"):  # the right token, but on another session
            await renew(client, own, emsg=9804)
        assert (await client.begin("plain", "p1")).client_id  # other methods are allowed


@pytest.mark.parametrize(
    ("account", "eresult"),
    [(BRIEF, 27), (LOCKED, 73), (SSA, 118)],
    ids=["expired", "locked", "ssa"],
)
async def test_a_right_password_may_still_be_refused(
    sandbox: SandboxProcess, account: dict[str, str], eresult: int
) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        token = await client.token(account["name"], account["password"])
        answer = await client.log_on(token, steamid_of(token))
        assert answer.eresult == eresult
        assert bool(answer.agreement_session_url) is (eresult == 118)
        await client.wait_closed()


async def test_a_revoked_token_is_15_and_a_live_session_can_be_ended_by_it(
    sandbox: SandboxProcess,
) -> None:
    async with Connecting(sandbox, "websockets") as client:
        token = await logged_on(client, PLAIN)
        await sandbox.revoke("plain", log_off=26)
        off = await client.wait_for(757)
        assert login_pb.CMsgClientLoggedOff.FromString(off.body).eresult == 26
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        assert (await client.log_on(token, steamid_of(token))).eresult == 15


async def test_a_token_of_another_account_or_platform_is_5(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        token = await client.token("plain", "p1")
        assert (await client.log_on(token, steamid_of(token) + 1)).eresult == 5
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        begun = await client.begin("plain", "p1", platform=3)
        mobile = (await client.poll(begun)).refresh_token
        assert (await client.log_on(mobile, steamid_of(mobile))).eresult == 5


async def test_the_account_may_be_named_by_header_or_by_name(sandbox: SandboxProcess) -> None:
    no_account_id = 76561197960265728
    async with Connecting(sandbox, "netfilter") as client:
        await client.hello()
        token = await client.token("plain", "p1")
        answer = await client.log_on(token, no_account_id, account_name="plain")
        assert answer.eresult == 1
    async with Connecting(sandbox, "netfilter") as client:
        await client.hello()
        assert (await client.log_on(token, no_account_id)).eresult == 5


@pytest.mark.parametrize(
    ("fields", "eresult"),
    [
        ({"account_name": "plain", "password": "p1"}, 5),
        ({"account_name": "plain", "login_key": "k"}, 5),
        ({"access_token": "junk"}, 5),
        ({"access_token": "junk", "protocol_version": 65575}, 7),
    ],
    ids=["password", "login key", "junk", "old protocol"],
)
async def test_outdated_logons_are_refused(
    sandbox: SandboxProcess, fields: dict[str, object], eresult: int
) -> None:
    request = login_pb.CMsgClientLogon(**({"protocol_version": 65580} | fields))
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        await client.send(5514, request, steamid=76561197960265728)
        got = await client.wait_for(751)
        assert login_pb.CMsgClientLogonResponse.FromString(got.body).eresult == eresult
        await client.wait_closed()


async def test_a_password_beside_a_token_is_refused(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        token = await client.token("plain", "p1")
        assert (await client.log_on(token, steamid_of(token), password="p1")).eresult == 8


async def test_a_refusal_has_the_same_form_without_hello(sandbox: SandboxProcess) -> None:
    """node-steam-user sends no Hello before a token log-on."""
    async with Connecting(sandbox, "websockets") as client:
        assert (await client.log_on("junk", 76561197960265729)).eresult == 5
        await client.wait_closed()


async def test_a_disabled_account_gets_no_auth_session(sandbox: SandboxProcess) -> None:
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        assert await eresult_of(client, "disabled", "p6") == 43


async def test_too_many_logons_are_84_for_the_ip_and_5_for_clients_that_do_not_ask(
    sandbox: SandboxProcess,
) -> None:
    await sandbox.faults(logon_limit={"value": {"most": 3, "account_most": 99}})
    for supports, eresult in ((True, 5), (False, 5), (True, 84), (False, 5)):
        async with Connecting(sandbox, "websockets") as client:
            await client.hello()
            answer = await client.log_on(
                "junk", 76561197960265729, supports_rate_limit_response=supports
            )
            assert answer.eresult == eresult
    async with Connecting(sandbox, "websockets") as client:
        await client.hello()
        assert await eresult_of(client, "plain", "p1") == 84
    await sandbox.clear_faults()
    refused = await sandbox.journal("logon_refused")
    assert [one["reason"] for one in refused[-2:]] == ["limited", "limited"]
