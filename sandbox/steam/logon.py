"""Handlers of ClientHello, ClientLogon and ClientLogOff."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Any, Final

from sandbox.network.corruption import Corruption
from sandbox.protocol import messages
from sandbox.protocol.emsg import EMsg
from sandbox.protocol.envelope import Message
from sandbox.protocol.eresult import EResult
from sandbox.steam import post_logon
from sandbox.steam.accounts import INDIVIDUAL, Account
from sandbox.steam.session import Session, SessionState
from sandbox.steam.tokens import TokenRefused

OLDEST_PROTOCOL: Final = 65580
CELL_ID: Final = 5
_SECRETS: Final = ("password", "login_key", "auth_code", "two_factor_code")
_ACCOUNT_ID: Final = 0xFFFFFFFF


class _LogonRefused(Exception):
    def __init__(self, eresult: int, reason: str) -> None:
        super().__init__(reason)
        self.eresult = int(eresult)
        self.reason = reason


def on_hello(session: Session, message: Message) -> None:
    """Record the client's protocol version; Steam does not answer Hello."""
    version = messages.HELLO.decode(message.body).get("protocol_version", 0)
    session.context.journal.add("client_hello", connection=session.number, protocol_version=version)
    if session.state is SessionState.CONNECTED:
        session.state = SessionState.HELLO_RECEIVED


def on_logon(session: Session, message: Message) -> None:
    """Log an account on with its refresh token, or refuse and close the connection."""
    if session.state is SessionState.LOGGED_ON:
        session.close_on_violation("second logon on one connection")
        return
    request = messages.LOGON.decode(message.body)
    steamid = message.header.get("steamid", 0)
    named = _find_account(session, request, steamid)
    faults, cm = session.context.faults, session.connection.cm
    name = named.name if named else request.get("account_name")
    corruption = faults.take("logon_corrupt", account=name, cm=cm)
    if corruption is not None:
        session.connection.send_corrupted(Corruption(corruption))
        return
    if faults.take("logon_never_answered", account=name, cm=cm):
        session.context.journal.add(
            "logon_ignored",
            connection=session.number,
            account=name,
            source=session.connection.source,
        )
        return
    try:
        account = _check_logon(session, request, named)
    except _LogonRefused as refused:
        is_token = bool(request.get("access_token"))
        session.context.logon_limiter.add_failure(
            session.connection.source, name, is_token=is_token
        )
        _refuse(session, request, name, refused)
        return
    _accept(session, account, request)


def on_log_off(session: Session, message: Message) -> None:
    """Log off: usually with ClientLoggedOff, otherwise the CM only closes the connection."""
    del message  # its body is empty
    notify = session.context.rng.random() < 0.75  # noqa: PLR2004 - three of four CMs
    session.log_off(EResult.OK, "log_off", clean=True, notify=notify)


def _find_account(session: Session, request: Mapping[str, Any], steamid: int) -> Account | None:
    """Return the account that the log-on names, by header or by name."""
    if steamid & _ACCOUNT_ID and steamid > INDIVIDUAL:
        return session.context.accounts.by_steamid(steamid)
    return session.context.accounts.by_name(request.get("account_name", ""))


def _check_logon(session: Session, request: Mapping[str, Any], named: Account | None) -> Account:
    name = named.name if named else request.get("account_name")
    fault = session.context.faults.take("logon_eresult", account=name, cm=session.connection.cm)
    if fault is not None:
        raise _LogonRefused(fault, "fault")
    trouble = session.context.faults.take("logon_struct", account=name, cm=session.connection.cm)
    if trouble is not None:
        raise _LogonRefused(trouble, "struct")
    limiter, is_token = session.context.logon_limiter, bool(request.get("access_token"))
    limited = limiter.check(session.connection.source, name, is_token=is_token)
    if limited is not None:
        # A client without support for rate limits gets the result for a wrong password.
        understands = request.get("supports_rate_limit_response")
        raise _LogonRefused(limited if understands else EResult.INVALID_PASSWORD, "limited")
    if request.get("protocol_version", 0) < OLDEST_PROTOCOL:
        raise _LogonRefused(EResult.INVALID_PROTOCOL_VERSION, "protocol_version")
    token = request.get("access_token", "")
    if not token:
        raise _LogonRefused(EResult.INVALID_PASSWORD, "no access_token")
    if any(request.get(secret) for secret in _SECRETS):
        raise _LogonRefused(EResult.INVALID_PARAM, "token and password together")
    try:
        claims = session.context.tokens.check_refresh(token)
    except TokenRefused as refused:
        raise _LogonRefused(refused.eresult, refused.reason) from refused
    if named is None or claims["sub"] != str(named.steamid):
        raise _LogonRefused(EResult.INVALID_PASSWORD, "token of another account")
    _check_account_flags(named)
    return named


def _check_account_flags(account: Account) -> None:
    for is_so, eresult in (
        (account.disabled, EResult.ACCOUNT_DISABLED),
        (account.locked, EResult.ACCOUNT_LOCKED_DOWN),
        (account.needs_ssa, EResult.MUST_AGREE_TO_SSA),
    ):
        if is_so:
            raise _LogonRefused(eresult, eresult.name.lower())


def _accept(session: Session, account: Account, request: Mapping[str, Any]) -> None:
    context, sessions = session.context, session.sessions
    logon_id = request.get("obfuscated_private_ip", {}).get("v4", 0)
    replaced = sessions.find_same_logon(account.name, session.connection.source, logon_id)
    if replaced is not None:
        replaced.log_off(EResult.LOGON_SESSION_REPLACED, "replaced")
    session.log_on(account, context.rng.randrange(1, 1 << 31), logon_id)
    sessions.add_logged_on(session)
    context.journal.add(
        "token_logon",
        connection=session.number,
        account=account.name,
        source=session.connection.source,
        session=session.session_id,
        steamid=str(account.steamid),
        logon_id=logon_id,
    )
    heartbeat = context.options.heartbeat_s
    answer = _response(session, account, heartbeat)
    session.send_multi(post_logon.first_multi(session, answer))
    session.send_multi(post_logon.second_multi(session))


def _response(session: Session, account: Account, heartbeat_s: float) -> bytes:
    seconds = max(1, round(heartbeat_s))
    values: dict[str, Any] = {
        "eresult": EResult.OK,
        "legacy_out_of_game_heartbeat_seconds": seconds,
        "heartbeat_seconds": seconds,
        "rtime32_server_time": int(session.context.now()),
        "account_flags": 0,
        "cell_id": CELL_ID,
        "vanity_url": "",
        "public_ip": _address(session.connection.source),
        "user_country": "DE",
        "client_supplied_steamid": account.steamid,
        "ip_country_code": "DE",
        "count_loginfailures_to_migrate": 1,
        "count_disconnects_to_migrate": 1,
        "client_instance_id": session.context.rng.getrandbits(62),
        "token_id": session.context.rng.getrandbits(63),
    }
    if session.context.faults.take("logon_no_public_ip", account=account.name):
        del values["public_ip"]
    return messages.LOGON_RESPONSE.encode(values)


def _address(source: str) -> dict[str, Any]:
    address = ipaddress.ip_address(source)
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return {"v4": int(address)}
    return {"v6": address.packed}


def _refuse(
    session: Session, request: Mapping[str, Any], name: str | None, refused: _LogonRefused
) -> None:
    session.context.journal.add(
        "logon_refused",
        connection=session.number,
        account=name,
        source=session.connection.source,
        flow="token" if request.get("access_token") else "password",
        eresult=refused.eresult,
        reason=refused.reason,
    )
    # A CM in trouble answers in the old struct form. A refusal is protobuf, also without a Hello:
    # node-steam-user sends no Hello before a token log-on and reads every answer as protobuf.
    if refused.reason == "struct":
        body = struct.pack("<iiiQII", refused.eresult, 0, 0, 0, 0, int(session.context.now()))
        session.connection.send(session.build_struct(EMsg.LOGON_RESPONSE, body))
    else:
        values: dict[str, Any] = {"eresult": refused.eresult}
        if refused.eresult == EResult.MUST_AGREE_TO_SSA:
            values["agreement_session_url"] = "https://store.steampowered.com/eula/ssa"
        session.send(EMsg.LOGON_RESPONSE, messages.LOGON_RESPONSE.encode(values))
    session.end("logon_refused")
    session.connection.close()
