"""The credential flow against a scripted Steam, with every possible answer."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from Cryptodome.Cipher import PKCS1_v1_5
from Cryptodome.PublicKey import RSA
from gevent.event import AsyncResult
from steam.protobufs import steammessages_auth_pb2 as pb
from support.fake_clock import FakeClock
from support.scripted_transport import PATIENCE_S, Received, ScriptedTransport, connected

from actors.errors import ClockUncertain, LogOnRefused, NeedsHuman, SteamUnreachable
from actors.steam.auth import Authenticator, code_at
from actors.steam.bridge import Bridge
from actors.steam.connection import Connection
from actors.steam.port import AuthState, Credential, GuardKind, GuardRequest
from actors.steam.protocol import emsg
from actors.steam.steam_time import SteamTime

KEY = RSA.generate(2048)
SECRET = base64.b64encode(b"a shared secret").decode()
STEAM_ID = 76561197960287930
Answer = tuple[int, Any]


class FakeSteam:
    """Answers service calls; tests replace single answers."""

    def __init__(self, server: ScriptedTransport) -> None:
        self._server = server
        server.on_message = self._on_message
        self.calls: list[tuple[str, bytes]] = []
        self.headers: list[Any] = []
        self.key = pb.CAuthentication_GetPasswordRSAPublicKey_Response(
            publickey_mod=f"{KEY.n:x}", publickey_exp=f"{KEY.e:06x}", timestamp=123456789
        )
        self.begun = pb.CAuthentication_BeginAuthSessionViaCredentials_Response(
            client_id=11, request_id=b"request", interval=0.001, steamid=STEAM_ID
        )
        self.tokens = pb.CAuthentication_PollAuthSessionStatus_Response(refresh_token="fresh")
        self.answers: dict[str, list[Answer]] = {}

    def offer(self, *kinds: int, hint: str = "") -> None:
        """Encode by hand: the library's class refuses unknown kinds."""
        for kind in kinds:
            inner = bytes([1 << 3, kind, 2 << 3 | 2, len(hint)]) + hint.encode()
            self.begun.MergeFromString(bytes([4 << 3 | 2, len(inner)]) + inner)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def requests(self, name: str, kind: Any) -> list[Any]:
        return [kind.FromString(body) for one, body in self.calls if one == name]

    def _on_message(self, message: Received) -> None:
        name = message.header.target_job_name.removeprefix("Authentication.").removesuffix("#1")
        self.calls.append((name, message.body))
        self.headers.append((message.emsg, message.header))
        usual: dict[str, Answer] = {
            "GetPasswordRSAPublicKey": (1, self.key),
            "BeginAuthSessionViaCredentials": (1, self.begun),
            "UpdateAuthSessionWithSteamGuardCode": (1, b""),
            "PollAuthSessionStatus": (1, self.tokens),
        }
        scripted = self.answers.get(name)
        eresult, body = scripted.pop(0) if scripted else usual[name]
        job = message.header.jobid_source
        self._server.say(emsg.SERVICE_METHOD_RESPONSE, body, jobid_target=job, eresult=eresult)


@contextmanager
def steam() -> Iterator[tuple[FakeSteam, Connection]]:
    with connected() as (connection, server):
        yield FakeSteam(server), connection


def no_code(request: GuardRequest) -> str | None:
    raise AssertionError(f"no code should be asked for: {request}")


class DirectBridge(Bridge):
    """Runs at once what is asked of the loop."""

    def __init__(self) -> None:
        pass

    @contextmanager
    def ask_loop(self, fn: Callable[..., Awaitable[Any]], *args: object) -> Iterator[AsyncResult]:
        answer = AsyncResult()
        try:
            fn(*args).__await__().send(None)
        except StopIteration as done:
            answer.set(done.value)
        except AssertionError as error:
            answer.set_exception(error)
        yield answer


def run(
    connection: Connection,
    ask: Callable[[GuardRequest], str | None] = no_code,
    *,
    password: str = "mist-coil-1",
    secret: str | None = None,
    guard_data: str | None = None,
    clock: FakeClock | SteamTime | None = None,
    timeout_s: float = PATIENCE_S,
) -> AuthState:
    async def on_guard(request: GuardRequest) -> str | None:
        return ask(request)

    credential = Credential("abaddon", password, secret)
    at_steam = clock if isinstance(clock, SteamTime) else SteamTime(clock or FakeClock())
    flow = Authenticator(connection, DirectBridge(), credential, clock=at_steam)
    return flow.run(guard_data, on_guard, timeout_s)


BEGIN = "BeginAuthSessionViaCredentials"
UPDATE = "UpdateAuthSessionWithSteamGuardCode"
POLL = "PollAuthSessionStatus"
BeginRequest = pb.CAuthentication_BeginAuthSessionViaCredentials_Request
UpdateRequest = pb.CAuthentication_UpdateAuthSessionWithSteamGuardCode_Request
PollRequest = pb.CAuthentication_PollAuthSessionStatus_Request


def test_without_guard_the_password_is_enough() -> None:
    with steam() as (fake, connection):
        assert run(connection) == AuthState(STEAM_ID, "fresh", None)
        assert fake.names() == ["GetPasswordRSAPublicKey", BEGIN, POLL]
        for number, header in fake.headers:
            assert number == emsg.SERVICE_METHOD_CALL_NON_AUTHED
            assert (header.steamid, header.client_sessionid, header.realm) == (0, 0, 1)
        (begin,) = fake.requests(BEGIN, BeginRequest)
        assert (begin.account_name, begin.encryption_timestamp) == ("abaddon", 123456789)
        assert (begin.persistence, begin.website_id) == (1, "Unknown")
        details = begin.device_details
        assert (details.platform_type, details.os_type, details.gaming_device_type) == (1, -203, 1)


@pytest.mark.parametrize(
    ("password", "sent"),
    [("mist-coil-1", b"mist-coil-1"), ("x" * 80, b"x" * 64), ("pä" + "y" * 64, b"p" + b"y" * 63)],
)
def test_the_password_travels_encrypted_and_as_steam_reads_it(password: str, sent: bytes) -> None:
    with steam() as (fake, connection):
        run(connection, password=password)
        (begin,) = fake.requests(BEGIN, BeginRequest)
        blob = base64.b64decode(begin.encrypted_password)
        assert PKCS1_v1_5.new(KEY).decrypt(blob, None) == sent


def test_every_call_has_its_own_job() -> None:
    with steam() as (fake, connection):
        run(connection)
        jobs = [header.jobid_source for _, header in fake.headers]
        assert len(set(jobs)) == len(jobs)
        assert 0 not in jobs


def test_stored_guard_data_is_shown_and_kept_when_nothing_newer_comes() -> None:
    with steam() as (fake, connection):
        fake.offer(1)
        assert run(connection, guard_data="old.guard.data").guard_data == "old.guard.data"
        (begin,) = fake.requests(BEGIN, BeginRequest)
        assert begin.guard_data == "old.guard.data"


def test_newer_guard_data_takes_the_place_of_the_old() -> None:
    with steam() as (fake, connection):
        fake.tokens.new_guard_data = "new.guard.data"
        assert run(connection, guard_data="old.guard.data").guard_data == "new.guard.data"


def test_a_totp_code_is_made_where_the_secret_is_known(clock: FakeClock) -> None:
    with steam() as (fake, connection):
        fake.offer(3, 4)
        run(connection, secret=SECRET, clock=clock)
        (update,) = fake.requests(UPDATE, UpdateRequest)
        assert (update.code, update.code_type) == (code_at(SECRET, clock.wall()), 3)
        assert (update.client_id, update.steamid) == (11, STEAM_ID)


class WallAt(FakeClock):
    """First 10 ms before the end of a code, then after it."""

    def __init__(self) -> None:
        super().__init__()
        self.times = [29.99, 29.99, 30.01]

    def wall(self) -> float:
        return self.times.pop(0)


def test_a_totp_code_that_was_used_is_followed_by_the_next() -> None:
    with steam() as (fake, connection):
        fake.offer(3)
        fake.answers[UPDATE] = [(88, b""), (1, b"")]
        run(connection, secret=SECRET, clock=WallAt())
        codes = [one.code for one in fake.requests(UPDATE, UpdateRequest)]
        assert codes == [code_at(SECRET, 0), code_at(SECRET, 30)]


def test_a_second_wrong_totp_code_is_a_refusal() -> None:
    with steam() as (fake, connection):
        fake.offer(3)
        fake.answers[UPDATE] = [(88, b""), (88, b"")]
        with pytest.raises(LogOnRefused, match="88"):
            run(connection, secret=SECRET, clock=WallAt())


def test_codes_that_an_uncertain_clock_made_are_no_fault_of_the_account() -> None:
    """ClockUncertain until Steam's time is known; then the secret is wrong."""
    for learns, expected in ((False, ClockUncertain), (True, LogOnRefused)):
        clock = SteamTime(FakeClock(now=9.99))  # as WallAt, 10 ms before the next code
        if learns:
            clock.learn_from_cm(29)
        with steam() as (fake, connection):
            fake.offer(3)
            fake.answers[UPDATE] = [(88, b""), (88, b"")]
            with pytest.raises(LogOnRefused) as caught:
                run(connection, secret=SECRET, clock=clock)
        assert type(caught.value) is expected
        assert caught.value.eresult == 88


def test_a_code_is_made_by_steams_time(clock: FakeClock) -> None:
    at_steam = SteamTime(clock)
    at_steam.learn_from_cm(int(clock.wall()) + 90)
    with steam() as (fake, connection):
        fake.offer(3)
        run(connection, secret=SECRET, clock=at_steam)
        (update,) = fake.requests(UPDATE, UpdateRequest)
    assert update.code == code_at(SECRET, at_steam.wall())
    assert update.code != code_at(SECRET, clock.wall())


def test_a_secret_that_is_none_needs_a_person() -> None:
    with steam() as (fake, connection):
        fake.offer(3)
        with pytest.raises(NeedsHuman, match="base64") as caught:
            run(connection, secret="not base64!")
        assert "not base64!" not in str(caught.value)


@pytest.mark.parametrize("wrong", [65, 71, 88])
@pytest.mark.parametrize(("number", "kind"), [(2, GuardKind.EMAIL), (3, GuardKind.DEVICE)])
def test_a_code_is_asked_for_until_it_is_right(number: int, kind: GuardKind, wrong: int) -> None:
    asked: list[GuardRequest] = []

    def ask(request: GuardRequest) -> str:
        asked.append(request)
        return f" CODE{request.attempt}\n"

    with steam() as (fake, connection):
        fake.offer(number, hint="example.com")
        fake.answers[UPDATE] = [(wrong, b""), (wrong, b""), (1, b"")]
        run(connection, ask)
        codes = [(one.code, one.code_type) for one in fake.requests(UPDATE, UpdateRequest)]
    assert codes == [("CODE1", number), ("CODE2", number), ("CODE3", number)]
    assert [(one.kind, one.attempt, one.account) for one in asked] == [
        (kind, 1, "abaddon"),
        (kind, 2, "abaddon"),
        (kind, 3, "abaddon"),
    ]
    assert asked[0].hint == ("example.com" if kind is GuardKind.EMAIL else "")


def test_three_wrong_codes_are_enough() -> None:
    with steam() as (fake, connection):
        fake.offer(2)
        fake.answers[UPDATE] = [(65, b"")] * 3
        with pytest.raises(NeedsHuman, match="3 were wrong"):
            run(connection, lambda _: "WRONG")
        assert fake.names().count(UPDATE) == 3


def test_no_code_means_that_a_person_is_needed() -> None:
    with steam() as (fake, connection):
        fake.offer(2, hint="example.com")
        with pytest.raises(NeedsHuman, match=r"example\.com"):
            run(connection, lambda _: None)
        assert UPDATE not in fake.names()


@pytest.mark.parametrize("eresult", [27, 20, 9999])
def test_another_answer_to_a_code_is_a_refusal(eresult: int) -> None:
    with steam() as (fake, connection):
        fake.offer(2)
        fake.answers[UPDATE] = [(eresult, b"")]
        with pytest.raises(LogOnRefused, match=str(eresult)):
            run(connection, lambda _: "CODE")


@pytest.mark.parametrize(("offered", "secret"), [(2, None), (3, SECRET)])
def test_approved_meanwhile_is_as_good_as_a_right_code(offered: int, secret: str | None) -> None:
    with steam() as (fake, connection):
        fake.offer(offered)
        fake.answers[UPDATE] = [(29, b"")]
        assert run(connection, lambda _: "CODE", secret=secret).refresh_token == "fresh"


@pytest.mark.parametrize("kinds", [(1,), (99, 1), (7, 6, 1), ()])
def test_unknown_kinds_are_skipped_when_no_guard_is_needed(
    kinds: tuple[int, ...],
) -> None:
    with steam() as (fake, connection):
        fake.offer(*kinds)
        assert run(connection).refresh_token == "fresh"


def test_a_known_kind_beside_an_unknown_one_is_taken() -> None:
    with steam() as (fake, connection):
        fake.offer(99, 2)
        run(connection, lambda _: "CODE")
        assert fake.requests(UPDATE, UpdateRequest)[0].code_type == 2


@pytest.mark.parametrize("kinds", [(99,), (6, 7), (0,)])
def test_only_unknown_kinds_need_a_person(kinds: tuple[int, ...]) -> None:
    with steam() as (fake, connection):
        fake.offer(*kinds)
        with pytest.raises(NeedsHuman, match="do not know"):
            run(connection)


@pytest.mark.parametrize("kind", [4, 5])
def test_a_confirmation_elsewhere_is_polled_for(kind: int) -> None:
    with steam() as (fake, connection):
        fake.offer(kind)
        fake.answers[POLL] = [(1, b"")] * 3
        assert run(connection).refresh_token == "fresh"
        assert fake.names().count(POLL) == 4


@pytest.mark.parametrize(("kinds", "need"), [((4,), "app"), ((99, 5), "e-mail"), ((1,), None)])
def test_when_time_is_over_it_is_known_who_was_waited_for(
    kinds: tuple[int, ...], need: str | None
) -> None:
    """A retry would only ask the same person again."""
    with steam() as (fake, connection):
        fake.offer(*kinds)
        fake.answers[POLL] = [(1, b"")] * 1000
        with pytest.raises(SteamUnreachable if need is None else NeedsHuman) as late:
            run(connection, timeout_s=0.02)
    if isinstance(late.value, NeedsHuman):
        assert need is not None
        assert need in late.value.need


def test_a_new_client_id_is_used_from_then_on() -> None:
    with steam() as (fake, connection):
        rotated = pb.CAuthentication_PollAuthSessionStatus_Response(new_client_id=22)
        fake.answers[POLL] = [(1, rotated), (1, b"")]
        run(connection)
        polls = fake.requests(POLL, PollRequest)
        assert [one.client_id for one in polls] == [11, 22, 22]
        assert {one.request_id for one in polls} == {b"request"}


@pytest.mark.parametrize("method", ["GetPasswordRSAPublicKey", BEGIN, POLL])
@pytest.mark.parametrize("eresult", [5, 9, 84, 9999])
def test_a_refusal_of_any_call_carries_its_number(method: str, eresult: int) -> None:
    with steam() as (fake, connection):
        fake.answers[method] = [(eresult, b"")]
        with pytest.raises(LogOnRefused) as caught:
            run(connection)
        assert (caught.value.phase, caught.value.eresult) == ("credentials", eresult)


def test_an_ok_without_a_client_id_is_a_refusal() -> None:
    with steam() as (fake, connection):
        fake.begun.client_id = 0
        with pytest.raises(LogOnRefused):
            run(connection)


@pytest.mark.parametrize("method", ["GetPasswordRSAPublicKey", BEGIN, POLL])
@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab"])
def test_an_answer_that_cannot_be_read_is_trouble_of_the_server(method: str, body: bytes) -> None:
    with steam() as (fake, connection):
        fake.answers[method] = [(1, body)]
        with pytest.raises(SteamUnreachable) as caught:
            run(connection)
        assert caught.value.phase == "credentials"


@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [("", "010001"), ("xyz", "010001"), (f"{KEY.n:x}", ""), ("00", "010001"), ("c5", "03")],
)
def test_a_password_key_that_is_none_is_trouble_of_the_server(modulus: str, exponent: str) -> None:
    with steam() as (fake, connection):
        fake.key.publickey_mod, fake.key.publickey_exp = modulus, exponent
        with pytest.raises(SteamUnreachable, match="password key"):
            run(connection)


def test_a_connection_that_dies_ends_the_flow() -> None:
    with connected() as (connection, server):
        running = gevent.spawn(run, connection)
        server.wait_emsg(emsg.SERVICE_METHOD_CALL_NON_AUTHED)
        server.break_with(ConnectionResetError("gone"))
        with pytest.raises(SteamUnreachable):
            running.get()


def test_answers_to_unknown_jobs_are_dropped() -> None:
    with connected() as (connection, server):
        for job in (0, 5, 2**64 - 1):
            server.say(emsg.SERVICE_METHOD_RESPONSE, b"", jobid_target=job, eresult=1)
        running = gevent.spawn(connection.call, "Any.Method#1", PollRequest())
        (request,) = server.wait_emsg(emsg.SERVICE_METHOD_CALL_NON_AUTHED)
        job = request.header.jobid_source
        server.say(emsg.SERVICE_METHOD_RESPONSE, b"late", jobid_target=job + 1, eresult=1)
        server.say(emsg.SERVICE_METHOD_RESPONSE, b"body", jobid_target=job)
        assert running.get() == (2, b"body")  # a result that is absent is a failure


def test_after_the_log_on_calls_are_of_the_session() -> None:
    with connected() as (connection, server):
        connection.steam_id, connection.session_id = STEAM_ID, -3
        gevent.spawn(connection.call, "Any.Method#1", PollRequest())
        (request,) = server.wait_emsg(emsg.SERVICE_METHOD_CALL)
        assert (request.header.steamid, request.header.client_sessionid) == (STEAM_ID, -3)
