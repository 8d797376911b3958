"""Service methods `Authentication.*`.

Clients call them without a session (9804) or on a logged-on session (151). As at Steam, the answer to an
unknown method or an invalid body has an error in its header and an empty body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.protocol import messages
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.envelope import NO_JOB, Message
from sandbox.protocol.eresult import EResult
from sandbox.protocol.wire import MessageType
from sandbox.steam.authenticator import AuthRefused, AuthSession, Granted, Guard
from sandbox.steam.session import Session, SessionState
from sandbox.steam.tokens import Platform, TokenRefused

RENEWAL: Final = "Authentication.GenerateAccessTokenForApp#1"
POLL_INTERVAL_S: Final = 0.5  # Steam uses 5; a shorter one keeps tests fast
_HINT: Final = "example.com"  # the domain that an e-mail confirmation shows
Values = dict[str, Any]


def on_non_authed_call(session: Session, message: Message) -> None:
    """Handle 9804; as at Steam, a call before Hello closes the connection."""
    if session.state is SessionState.CONNECTED:
        session.close_on_violation("service call before hello")
        return
    _call(session, message, is_authed=False)


def on_call(session: Session, message: Message) -> None:
    """Handle 151, a call on a logged-on session."""
    _call(session, message, is_authed=True)


def _call(session: Session, message: Message, *, is_authed: bool) -> None:
    name = message.header.get("target_job_name", "")
    body = b""
    result = {"eresult": int(EResult.OK), "target_job_name": name}
    try:
        request, response, handler = _method(name, is_authed=is_authed)
        body = response.encode(handler(session, request.decode(message.body)))
    except (AuthRefused, TokenRefused) as refused:
        result["eresult"] = int(refused.eresult)
        result["error_message"] = str(refused)
    if message.job != NO_JOB:
        extra = messages.HEADER.encode(result)
        session.connection.send(
            session.build(EMsg.SERVICE_METHOD_RESPONSE, body, job=message.job, extra=extra)
        )


def _method(name: str, *, is_authed: bool) -> _Method:
    if name == RENEWAL and not is_authed:  # Steam refuses this since April 2025
        raise AuthRefused(EResult.ACCESS_DENIED)
    if name not in METHODS:
        raise AuthRefused(EResult.INVALID_PARAM, f"no method {name}")
    return METHODS[name]


def _password_key(session: Session, request: Values) -> Values:
    name = request.get("account_name", "")
    session.context.journal.add(
        "rsa_key_request", connection=session.number, account=name, source=session.connection.source
    )
    modulus, exponent, timestamp = session.context.authenticator.password_key(name)
    return {"publickey_mod": modulus, "publickey_exp": exponent, "timestamp": timestamp}


def _begin(session: Session, request: Values) -> Values:
    context = session.context
    name = request.get("account_name", "")
    entry: Values = {
        "connection": session.number,
        "account": name,
        "source": session.connection.source,
    }
    try:
        begun = _check_credentials(session, name, request)
    except AuthRefused as refused:
        context.logon_limiter.add_failure(session.connection.source, name, is_token=False)
        context.journal.add("credentials_begun", **entry, eresult=refused.eresult, guards=[])
        raise
    extra = context.faults.take("guard_types", [], account=name)
    guards = [*map(int, extra), *map(int, begun.guards)]
    context.journal.add("credentials_begun", **entry, eresult=EResult.OK, guards=guards)
    return {
        "client_id": begun.client_id,
        "request_id": begun.request_id,
        "interval": context.faults.take("poll_interval_s", POLL_INTERVAL_S, account=name),
        "allowed_confirmations": [_confirmation(guard) for guard in guards],
        "steamid": begun.account.steamid,
    }


def _check_credentials(session: Session, name: str, request: Values) -> AuthSession:
    context = session.context
    fault = context.faults.take("credential_eresult", account=name, cm=session.connection.cm)
    if fault is not None:
        raise AuthRefused(fault)
    limited = context.logon_limiter.check(session.connection.source, name, is_token=False)
    if limited is not None:
        raise AuthRefused(limited)
    details = request.get("device_details", {})
    try:
        platform = Platform(details.get("platform_type", request.get("platform_type", 0)))
    except ValueError as error:
        raise AuthRefused(EResult.INVALID_PARAM, "unknown platform_type") from error
    begun = context.authenticator.begin(
        name,
        request.get("encrypted_password", ""),
        request.get("encryption_timestamp", 0),
        platform=platform,
        guard_data=request.get("guard_data"),
        source=session.connection.source,
    )
    if begun.account.disabled:
        raise AuthRefused(EResult.ACCOUNT_DISABLED)
    return begun


def _confirmation(guard: int) -> Values:
    hint = _HINT if guard == Guard.EMAIL_CODE else ""
    return {"confirmation_type": guard, "associated_message": hint}


def _update(session: Session, request: Values) -> Values:
    context = session.context
    account = context.accounts.by_steamid(request.get("steamid", 0))
    eresult = int(EResult.OK)
    code_type = request.get("code_type", 0)
    try:
        context.authenticator.submit_code(
            request.get("client_id", 0),
            request.get("steamid", 0),
            request.get("code", ""),
            code_type,
        )
    except AuthRefused as refused:
        eresult = int(refused.eresult)
        raise
    finally:
        context.journal.add(
            "guard_code",
            connection=session.number,
            account=account.name if account else None,
            code_type=code_type,
            eresult=eresult,
        )
    return {}


def _poll(session: Session, request: Values) -> Values:
    context = session.context
    result = context.authenticator.poll(request.get("client_id", 0), request.get("request_id", b""))
    if result is None:
        return {"had_remote_interaction": False}
    if isinstance(result, Granted):
        return _issue_tokens(session, result)
    return {"new_client_id": result, "had_remote_interaction": False}


def _issue_tokens(session: Session, granted: Granted) -> Values:
    session.context.journal.add(
        "credential_logon",
        connection=session.number,
        account=granted.account.name,
        source=session.connection.source,
        guard=granted.guard.name.lower(),
    )
    return {
        "refresh_token": granted.refresh_token,
        "access_token": granted.access_token,
        "had_remote_interaction": granted.guard is Guard.DEVICE_CONFIRMATION,
        "account_name": granted.account.name,
        "new_guard_data": granted.guard_data,
    }


def _renew(session: Session, request: Values) -> Values:
    context, account = session.context, session.account
    if account is None:  # Steam renews a client's token only on that account's own session
        raise AuthRefused(EResult.ACCESS_DENIED)
    token = request.get("refresh_token", "")
    claims = context.tokens.check_refresh(token)
    if claims["sub"] != str(account.steamid):
        raise AuthRefused(EResult.ACCESS_DENIED)
    renewed = None
    if request.get("renewal_type", 0) == 1:
        force = context.faults.take("renew_tokens", default=False, account=account.name)
        renewed = context.tokens.renew(token, account, session.connection.source, force=force)
    context.journal.add(
        "token_renewed",
        connection=session.number,
        account=account.name,
        renewed=renewed is not None,
    )
    access = context.tokens.issue_access(renewed or token, session.connection.source)
    return {"access_token": access, "refresh_token": renewed}


_Method = tuple[MessageType, MessageType, Callable[[Session, Values], Values]]
_UPDATE_RESPONSE: Final = MessageType(
    "CAuthentication_UpdateAuthSessionWithSteamGuardCode_Response"
)

METHODS: Final[Mapping[str, _Method]] = {
    "Authentication.GetPasswordRSAPublicKey#1": (
        messages.RSA_KEY_REQUEST,
        messages.RSA_KEY_RESPONSE,
        _password_key,
    ),
    "Authentication.BeginAuthSessionViaCredentials#1": (
        messages.BEGIN_REQUEST,
        messages.BEGIN_RESPONSE,
        _begin,
    ),
    "Authentication.UpdateAuthSessionWithSteamGuardCode#1": (
        messages.UPDATE_REQUEST,
        _UPDATE_RESPONSE,
        _update,
    ),
    "Authentication.PollAuthSessionStatus#1": (
        messages.POLL_REQUEST,
        messages.POLL_RESPONSE,
        _poll,
    ),
    RENEWAL: (
        messages.RENEW_REQUEST,
        messages.RENEW_RESPONSE,
        _renew,
    ),
}
