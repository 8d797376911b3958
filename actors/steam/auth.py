"""Credential flow: from a password to a refresh token, over the CM.

    key -> begin -> (Steam Guard code) -> poll until approved

Order and messages as in node-steam-user's `CMAuthTransport.js` and SteamKit's `AuthSession`.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import replace
from typing import Any, Final

import gevent
from steam.core.crypto import hmac_sha1, pkcs1v15_encrypt, rsa_publickey
from steam.protobufs import steammessages_auth_pb2 as pb

from actors.errors import ClockUncertain, LogOnRefused, NeedsHuman, SteamUnreachable
from actors.steam.bridge import Bridge
from actors.steam.connection import Connection
from actors.steam.port import (
    AuthInterrupted,
    AuthSession,
    AuthState,
    Credential,
    GuardCallback,
    GuardKind,
    GuardRequest,
)
from actors.steam.protocol.emsg import LINUX, OK
from actors.steam.protocol.envelope import decode
from actors.steam.protocol.wire import ParseError
from actors.steam.steam_time import SteamTime

DUPLICATE_REQUEST: Final = 29  # approved meanwhile, e.g. in the app
INVALID_LOGIN_AUTH_CODE: Final = 65
EXPIRED_LOGIN_AUTH_CODE: Final = 71
TWO_FACTOR_CODE_MISMATCH: Final = 88

GUARD_NONE: Final = 1
GUARD_EMAIL_CODE: Final = 2
GUARD_DEVICE_CODE: Final = 3
GUARD_DEVICE_CONFIRMATION: Final = 4
GUARD_EMAIL_CONFIRMATION: Final = 5

LONGEST_PASSWORD: Final = 64  # characters, ASCII; Steam ignores the rest (ArchiSteamFarm)
CODE_ATTEMPTS: Final = 3
CALL_S: Final = 10.0  # for one call; as in steam-next
MIN_INTERVAL_S: Final = 0.1
MAX_INTERVAL_S: Final = 30.0
DESKTOP: Final = 1
PERSISTENT: Final = 1  # ESessionPersistence
WEBSITE_ID: Final = "Unknown"  # what steam-session sends for a client
DEVICE_NAME: Final = "BotAPI"

WRONG_CODE: Final = frozenset(
    {INVALID_LOGIN_AUTH_CODE, EXPIRED_LOGIN_AUTH_CODE, TWO_FACTOR_CODE_MISMATCH}
)
STEP_MARGIN_S: Final = 0.5  # into the next code's window, for clock differences


def normalised_code(code: str) -> str:
    """Normalise a typed code: upper case, no spaces."""
    return "".join(code.split()).upper()


class Authenticator:
    """Runs the flow for one account over one connection, in a greenlet of the hub."""

    def __init__(
        self, connection: Connection, bridge: Bridge, credential: Credential, *, clock: SteamTime
    ) -> None:
        self._connection = connection
        self._bridge = bridge
        self._credential = credential
        self._clock = clock
        self._awaited: str | None = None  # the input awaited from a person, in words
        self._waits_for_steam = False
        self._guard_data: str | None = None
        self._session: AuthSession | None = None  # from Begin on

    def run(
        self,
        guard_data: str | None,
        on_guard: GuardCallback,
        timeout_s: float,
        resume: AuthSession | None = None,
    ) -> AuthState:
        """Return a fresh refresh token and the newest guard data; see `port.Link.authenticate`."""
        self._guard_data = guard_data
        try:
            with gevent.Timeout(timeout_s, exception=False):
                session = self._session = resume or self._begin()
                if (approved := self._satisfy_guard(session, on_guard)) is not None:
                    return approved
                while (auth := self._poll()) is None:
                    self._connection.pause(session.interval_s)
                return auth
        except SteamUnreachable as broken:
            if self._session is None:
                raise
            raise AuthInterrupted(self._session, broken) from broken
        # A person has not answered, and a retry would only ask again; or Steam has not.
        raise (
            NeedsHuman(self._credential.account, self._awaited)
            if self._awaited is not None and not self._waits_for_steam
            else SteamUnreachable("credentials", "no answer in time")
        )

    def _begin(self) -> AuthSession:
        account = self._credential.account
        key = self._call("GetPasswordRSAPublicKey", account_name=account)
        begun = self._call(
            "BeginAuthSessionViaCredentials",
            account_name=account,
            encrypted_password=self._encrypted_password(key),
            encryption_timestamp=key.timestamp,
            remember_login=True,
            persistence=PERSISTENT,
            website_id=WEBSITE_ID,
            guard_data=self._guard_data or None,
            device_details={
                "device_friendly_name": DEVICE_NAME,
                "platform_type": pb.k_EAuthTokenPlatformType_SteamClient,
                "os_type": LINUX,
                "gaming_device_type": DESKTOP,
            },
        )
        if not begun.client_id:  # an OK without an id is a refusal (as in steam-next)
            raise LogOnRefused("credentials", 2)
        return AuthSession(
            begun.client_id,
            begun.request_id,
            begun.steamid,
            min(max(begun.interval, MIN_INTERVAL_S), MAX_INTERVAL_S),
            tuple(
                (one.confirmation_type, one.associated_message)
                for one in begun.allowed_confirmations
            ),
        )

    def _encrypted_password(self, key: Any) -> str:
        plain = self._credential.password.encode("ascii", "ignore")[:LONGEST_PASSWORD]
        try:
            public_key = rsa_publickey(int(key.publickey_mod, 16), int(key.publickey_exp, 16))
            encrypted = pkcs1v15_encrypt(public_key, plain)
        except ValueError as error:  # not a key, or too small for the password
            raise SteamUnreachable("credentials", "Steam sent a broken password key") from error
        return base64.b64encode(encrypted).decode("ascii")

    # -- Steam Guard ---------------------------------------------------------------------------

    def _satisfy_guard(self, session: AuthSession, on_guard: GuardCallback) -> AuthState | None:
        """Satisfy the first usable kind of confirmation; unknown kinds are skipped.

        Return the auth state if the log-on is approved elsewhere while a code is awaited.
        """
        offered = dict(session.confirmations)
        if GUARD_NONE in offered or not offered:
            return None
        if GUARD_DEVICE_CODE in offered and self._credential.shared_secret:
            self._send_totp(session, self._credential.shared_secret)
        elif GUARD_EMAIL_CODE in offered:
            hint = offered[GUARD_EMAIL_CODE]
            return self._ask_for_code(on_guard, GuardKind.EMAIL, GUARD_EMAIL_CODE, hint)
        elif GUARD_DEVICE_CODE in offered:
            return self._ask_for_code(on_guard, GuardKind.DEVICE, GUARD_DEVICE_CODE, "")
        elif GUARD_DEVICE_CONFIRMATION in offered:
            self._awaited = "approve the log-on in the Steam app"
        elif GUARD_EMAIL_CONFIRMATION in offered:
            self._awaited = "follow the link in the e-mail from Steam"
        else:
            kinds = ", ".join(str(kind) for kind in sorted(offered))
            need = f"Steam wants a confirmation we do not know (kind {kinds})"
            raise NeedsHuman(self._credential.account, need)
        return None

    def _send_totp(self, session: AuthSession, shared_secret: str) -> None:
        """Send a TOTP code. Each is valid once: after a mismatch the next one is tried."""
        try:
            code = code_at(shared_secret, self._clock.wall())
            eresult = self._update(session, code, GUARD_DEVICE_CODE)
            if eresult == TWO_FACTOR_CODE_MISMATCH:
                self._connection.pause(until_next_step(self._clock.wall()) + STEP_MARGIN_S)
                code = code_at(shared_secret, self._clock.wall())
                eresult = self._update(session, code, GUARD_DEVICE_CODE)
        except ValueError as error:
            raise NeedsHuman(self._credential.account, str(error)) from None
        if eresult == TWO_FACTOR_CODE_MISMATCH and not self._clock.is_known:
            raise ClockUncertain(eresult)
        if eresult not in (OK, DUPLICATE_REQUEST):
            raise LogOnRefused("credentials", eresult)

    def _ask_for_code(
        self, on_guard: GuardCallback, kind: GuardKind, code_type: int, hint: str
    ) -> AuthState | None:
        account = self._credential.account
        where = f"e-mail at {hint}" if hint else kind.value
        self._awaited = f"a Steam Guard code ({where}): none was given in time"
        while (session := self._begun()).attempt <= CODE_ATTEMPTS:
            request = GuardRequest(account, kind, hint, session.attempt)
            answer = self._code_or_approval(on_guard, request)
            if isinstance(answer, AuthState):
                return answer
            if answer is None:
                raise NeedsHuman(account, f"a Steam Guard code ({where})")
            eresult = self._update(self._begun(), normalised_code(answer), code_type)
            if eresult in (OK, DUPLICATE_REQUEST):
                self._awaited = None
                return None
            if eresult not in WRONG_CODE:
                raise LogOnRefused("credentials", eresult)
            self._session = replace(self._begun(), attempt=session.attempt + 1)
        raise NeedsHuman(account, f"a Steam Guard code ({where}); {CODE_ATTEMPTS} were wrong")

    def _code_or_approval(
        self, on_guard: GuardCallback, request: GuardRequest
    ) -> AuthState | str | None:
        """Return the code that a person enters, or the auth state if Steam approves before that.

        Steam is polled meanwhile, which keeps the connection open and detects an approval in the app.
        """
        with self._bridge.ask_loop(on_guard, request) as answer:
            while not answer.ready():
                self._connection.pause(self._begun().interval_s, answer)
                if not answer.ready() and (auth := self._poll()) is not None:
                    return auth
            code: str | None = answer.get()
            return code

    def _update(self, session: AuthSession, code: str, code_type: int) -> int:
        eresult, _ = self._answer(
            "UpdateAuthSessionWithSteamGuardCode",
            client_id=session.client_id,
            steamid=session.steam_id,
            code=code,
            code_type=code_type,
        )
        return eresult

    # -- tokens --------------------------------------------------------------------------------

    def _begun(self) -> AuthSession:
        """Return the current session; a poll may change its client id."""
        assert self._session is not None  # noqa: S101 - set by run()
        return self._session

    def _poll(self) -> AuthState | None:
        """Poll once; return the auth state when the session is approved, else None."""
        session = self._begun()
        answer = self._call(
            "PollAuthSessionStatus", client_id=session.client_id, request_id=session.request_id
        )
        if answer.new_client_id:
            self._session = replace(session, client_id=answer.new_client_id)
        if not answer.refresh_token:
            return None
        newest = answer.new_guard_data or self._guard_data
        return AuthState(session.steam_id, answer.refresh_token, newest)

    def _call(self, method: str, **fields: Any) -> Any:
        """Return the response, a CAuthentication_<method>_Response."""
        eresult, body = self._answer(method, **fields)
        if eresult != OK:
            raise LogOnRefused("credentials", eresult)
        try:
            return decode(getattr(pb, f"CAuthentication_{method}_Response"), body)
        except ParseError as error:
            raise SteamUnreachable("credentials", f"the server sent garbage: {error}") from error

    def _answer(self, method: str, **fields: Any) -> tuple[int, bytes]:
        """Call a method with the fields of its request; return the EResult and the body."""
        request = getattr(pb, f"CAuthentication_{method}_Request")(**fields)
        self._waits_for_steam = True
        with gevent.Timeout(CALL_S, SteamUnreachable("credentials", "no answer in time")):
            answer = self._connection.call(f"Authentication.{method}#1", request)
        self._waits_for_steam = False
        return answer


# -- codes of a mobile authenticator: TOTP (RFC 6238) with Steam's alphabet

STEP_S: Final = 30
ALPHABET: Final = "23456789BCDFGHJKMNPQRTVWXY"
LENGTH: Final = 5


def code_at(shared_secret: str, now: float) -> str:
    """Return the code for UTC second `now`, by Steam's clock (`SteamTime`).

    Raises:
        ValueError: `shared_secret` is not base64.
    """
    try:
        key = base64.b64decode(shared_secret, validate=True)
    except binascii.Error as error:
        raise ValueError("the shared secret is not base64") from error
    digest = hmac_sha1(key, struct.pack(">Q", int(now) // STEP_S))
    at = digest[19] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    letters = []
    for _ in range(LENGTH):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)


def until_next_step(now: float) -> float:
    """Return the seconds until the next code is valid."""
    return STEP_S - now % STEP_S
