"""Service methods `Authentication.*`.

Called without a session of an account (9804) or over one (151). A method that is not known, or a body
that is not its request, is answered with a failing header and an empty body, as Steam does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.protocol import messages
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.envelope import NO_JOB, Message
from sandbox.protocol.eresult import EResult
from sandbox.protocol.wire import Shape
from sandbox.steam import throttle
from sandbox.steam.authenticator import AuthSession, Granted, Guard, Refused
from sandbox.steam.session import Session, Stage
from sandbox.steam.tokens import Platform, TokenRefused

RENEWAL: Final = "Authentication.GenerateAccessTokenForApp#1"
POLL_INTERVAL_S: Final = 0.5  # Steam says 5; tests need not wait that long
_HINT: Final = "example.com"  # what an e-mail guard says about the address
Values = dict[str, Any]


def on_non_authed_call(session: Session, message: Message) -> None:
    """Serve 9804; before Hello Steam closes the connection instead."""
    if session.stage is Stage.SILENT:
        session.violate("service call before hello")
        return
    _serve(session, message, is_authed=False)


def on_call(session: Session, message: Message) -> None:
    """Serve 151; only after logon."""
    _serve(session, message, is_authed=True)


def _serve(session: Session, message: Message, *, is_authed: bool) -> None:
    name = message.header.get("target_job_name", "")
    body = b""
    result = {"eresult": int(EResult.OK), "target_job_name": name}
    try:
        request, response, handler = _method(name, is_authed=is_authed)
        body = response.encode(handler(session, request.decode(message.body)))
    except (Refused, TokenRefused) as refused:
        result["eresult"] = int(refused.eresult)
        result["error_message"] = str(refused)
    if message.job != NO_JOB:
        extra = messages.HEADER.encode(result)
        session.link.send(
            session.wrapped(EMsg.SERVICE_METHOD_RESPONSE, body, job=message.job, extra=extra)
        )


def _method(name: str, *, is_authed: bool) -> _Method:
    if name == RENEWAL and not is_authed:  # refused since April 2025, also on a logged-on session
        raise Refused(EResult.ACCESS_DENIED)
    if name not in METHODS:
        raise Refused(EResult.INVALID_PARAM, f"no method {name}")
    return METHODS[name]


def _password_key(session: Session, request: Values) -> Values:
    name = request.get("account_name", "")
    session.services.journal.add(
        "rsa_key_request", connection=session.number, account=name, source=session.link.source
    )
    modulus, exponent, timestamp = session.services.authenticator.password_key(name)
    return {"publickey_mod": modulus, "publickey_exp": exponent, "timestamp": timestamp}


def _begin(session: Session, request: Values) -> Values:
    services = session.services
    name = request.get("account_name", "")
    entry: Values = {"connection": session.number, "account": name, "source": session.link.source}
    try:
        begun = _begun(session, name, request)
    except Refused as refused:
        throttle.note_failure(session, name)
        services.journal.add("credentials_begun", **entry, eresult=refused.eresult, guards=[])
        raise
    extra = services.faults.take("guard_types", [], account=name)
    guards = [*map(int, extra), *map(int, begun.guards)]
    services.journal.add("credentials_begun", **entry, eresult=EResult.OK, guards=guards)
    return {
        "client_id": begun.client_id,
        "request_id": begun.request_id,
        "interval": services.faults.take("poll_interval_s", POLL_INTERVAL_S, account=name),
        "allowed_confirmations": [_confirmation(guard) for guard in guards],
        "steamid": begun.account.steamid,
    }


def _begun(session: Session, name: str, request: Values) -> AuthSession:
    services = session.services
    fault = services.faults.take("credential_eresult", account=name, cm=session.link.cm)
    if fault is not None:
        raise Refused(fault)
    limited = throttle.refusal(session, name)
    if limited is not None:
        raise Refused(limited)
    details = request.get("device_details", {})
    try:
        platform = Platform(details.get("platform_type", request.get("platform_type", 0)))
    except ValueError as error:
        raise Refused(EResult.INVALID_PARAM, "unknown platform_type") from error
    begun = services.authenticator.begin(
        name,
        request.get("encrypted_password", ""),
        request.get("encryption_timestamp", 0),
        platform=platform,
        guard_data=request.get("guard_data"),
        source=session.link.source,
    )
    if begun.account.disabled:
        raise Refused(EResult.ACCOUNT_DISABLED)
    return begun


def _confirmation(guard: int) -> Values:
    hint = _HINT if guard == Guard.EMAIL_CODE else ""
    return {"confirmation_type": guard, "associated_message": hint}


def _update(session: Session, request: Values) -> Values:
    services = session.services
    account = services.accounts.by_steamid(request.get("steamid", 0))
    verdict = int(EResult.OK)
    code_type = request.get("code_type", 0)
    try:
        services.authenticator.submit_code(
            request.get("client_id", 0),
            request.get("steamid", 0),
            request.get("code", ""),
            code_type,
        )
    except Refused as refused:
        verdict = int(refused.eresult)
        raise
    finally:
        services.journal.add(
            "guard_code",
            connection=session.number,
            account=account.name if account else None,
            code_type=code_type,
            eresult=verdict,
        )
    return {}


def _poll(session: Session, request: Values) -> Values:
    services = session.services
    result = services.authenticator.poll(
        request.get("client_id", 0), request.get("request_id", b"")
    )
    if result is None:
        return {"had_remote_interaction": False}
    if isinstance(result, Granted):
        return _handed_over(session, result)
    return {"new_client_id": result, "had_remote_interaction": False}


def _handed_over(session: Session, granted: Granted) -> Values:
    session.services.journal.add(
        "credential_logon",
        connection=session.number,
        account=granted.account.name,
        source=session.link.source,
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
    services, account = session.services, session.account
    if account is None:  # a client's token is renewed only over its own logged-on session
        raise Refused(EResult.ACCESS_DENIED)
    token = request.get("refresh_token", "")
    claims = services.tokens.judge_refresh(token)
    if claims["sub"] != str(account.steamid):
        raise Refused(EResult.ACCESS_DENIED)
    renewed = None
    if request.get("renewal_type", 0) == 1:
        force = services.faults.take("renew_tokens", default=False, account=account.name)
        renewed = services.tokens.renew(token, account, session.link.source, force=force)
    services.journal.add(
        "token_renewed",
        connection=session.number,
        account=account.name,
        renewed=renewed is not None,
    )
    access = services.tokens.issue_access(renewed or token, session.link.source)
    return {"access_token": access, "refresh_token": renewed}


_Method = tuple[Shape, Shape, Callable[[Session, Values], Values]]
_UPDATE_RESPONSE: Final = Shape("CAuthentication_UpdateAuthSessionWithSteamGuardCode_Response")

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
