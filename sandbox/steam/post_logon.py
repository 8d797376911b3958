"""Messages that Steam sends after a log-on.

The order is that of real CMs. Messages that no client knows are mixed in: unknown EMsgs, struct
messages, and a service notification of a method that does not exist.
"""

from __future__ import annotations

import struct

from sandbox.protocol import messages
from sandbox.protocol.emsg import DOTA, UNKNOWN_EMSGS, EMsg
from sandbox.protocol.wire import MessageType, field
from sandbox.steam.session import Session

_SERVER_TYPES = (2, 7, 8, 20, 50, 56, 64, 71, 73)
DOTA_PACKAGE = 35_000 + DOTA  # stands for the package that grants the game
_FEATURE_GROUP = MessageType(
    "CMsgClientFeatureGroupInfo", field(1, "groupid", "uint32"), field(2, "members", "bytes")
)
_UNKNOWN_NOTIFICATION = "SandboxUnknown.NotifyUnknown#1"


def first_multi(session: Session, answer: bytes) -> list[bytes]:
    """Return the Multi with the log-on answer.

    steam 1.4.4 loses the rest of a Multi at the first unknown message, hence `stock_clients`.
    """
    before = [] if session.context.options.stock_clients else unknown_messages(session)
    return [
        session.build(EMsg.SERVERS_AVAILABLE, _servers()),
        *before,
        session.build(EMsg.LOGON_RESPONSE, answer),
        session.build(EMsg.ACCOUNT_INFO, _account_info(session)),
        session.build(EMsg.EMAIL_INFO, messages.EMAIL_INFO.encode(_email(session))),
        session.build(EMsg.FRIENDS_LIST, _friends(session)),
        session.build(EMsg.FRIENDS_GROUPS, _empty_list()),
        session.build(EMsg.NICKNAMES, _empty_list()),
        session.build(EMsg.LICENSE_LIST, licenses(session)),
        # No guest passes: two counts of zero in the old struct form.
        session.build_struct(EMsg.GUEST_PASSES, struct.pack("<iii", 1, 0, 0)),
        session.build(EMsg.WALLET_INFO, messages.WALLET_INFO.encode({"has_wallet": False})),
        session.build(EMsg.GAME_CONNECT_TOKENS, _tokens(session)),
        *unknown_messages(session),
        unknown_notification(session),
    ]


def second_multi(session: Session) -> list[bytes]:
    """Return the Multi after the log-on answer."""
    token = {"token": session.context.rng.getrandbits(63)}
    limited = {"bis_limited_account": False, "bis_locked_account": False}
    active = session.sessions.playing_session(session.name or "")
    playing = {
        "playing_blocked": active is not None and active is not session,
        "playing_app": active.apps[0] if active and active.apps else 0,
    }
    return [
        session.build(EMsg.SESSION_TOKEN, messages.SESSION_TOKEN.encode(token)),
        session.build(EMsg.IS_LIMITED_ACCOUNT, messages.LIMITED_ACCOUNT.encode(limited)),
        session.build(EMsg.REQUESTED_STATS, _stats()),
        session.build(EMsg.PLAYING_SESSION_STATE, messages.PLAYING_STATE.encode(playing)),
        session.build_struct(EMsg.VAC_BAN_STATUS, struct.pack("<I", 0)),
        session.build(EMsg.PERSONA_STATE, _persona(session)),
    ]


def unknown_messages(session: Session) -> list[bytes]:
    """Return messages with unknown numbers."""
    body = _FEATURE_GROUP.encode({"groupid": 17, "members": bytes(24)})
    return [session.build(emsg, body) for emsg in UNKNOWN_EMSGS]


def unknown_notification(session: Session) -> bytes:
    """Return a service notification of a method that does not exist."""
    header = messages.HEADER.encode({"target_job_name": _UNKNOWN_NOTIFICATION})
    return session.build(EMsg.SERVICE_METHOD, b"\x08\x01", extra=header)


def licenses(session: Session) -> bytes:
    """Return the account's ClientLicenseList."""
    account = session.account
    packages = [0, 17_906, 303_386]  # every account owns these
    if session.name in session.context.licensed:
        packages.append(DOTA_PACKAGE)
    rows = [
        {
            "package_id": package,
            "time_created": int(session.context.now()) - 86400 * 400,
            "minute_limit": 0,
            "payment_method": 1024,
            "flags": 0,
            "purchase_country_code": "DE",
            "license_type": 1,
            "change_number": 9_000_000 + package,
            "owner_id": account.account_id if account else 0,
        }
        for package in packages
    ]
    return messages.LICENSE_LIST.encode({"eresult": 1, "licenses": rows})


def _servers() -> bytes:
    types = [{"server": server, "changed": False} for server in _SERVER_TYPES]
    values = {"server_types_available": types, "server_type_for_auth_services": 2}
    return messages.SERVERS_AVAILABLE.encode(values)


def _account_info(session: Session) -> bytes:
    values = {
        "persona_name": session.name,
        "ip_country": "DE",
        "count_authed_computers": 1,
        "account_flags": 0,
        "two_factor_state": 0,
    }
    return messages.ACCOUNT_INFO.encode(values)


def _email(session: Session) -> dict[str, object]:
    return {"email_address": f"{session.name}@example.com", "email_is_validated": True}


def _friends(session: Session) -> bytes:
    friends = [
        {"ulfriendid": session.steamid + 2 * n, "efriendrelationship": 3} for n in range(1, 20)
    ]
    values = {"bincremental": False, "friends": friends, "max_friend_count": 250}
    return messages.FRIENDS_LIST.encode(values)


def _empty_list() -> bytes:
    return messages.EMPTY_LIST.encode({"bremoval": False, "bincremental": False})


def _tokens(session: Session) -> bytes:
    tokens = [session.context.rng.randbytes(20) for _ in range(10)]
    return messages.CONNECT_TOKENS.encode({"max_tokens_to_keep": 10, "tokens": tokens})


def _stats() -> bytes:
    stats = [{"client_stat": n, "stat_aggregate_method": 1} for n in range(12)]
    return messages.REQUESTED_STATS.encode({"stats_to_send": stats})


def _persona(session: Session) -> bytes:
    friend = {
        "friendid": session.steamid,
        "persona_state": 1,
        "game_played_app_id": 0,
        "player_name": session.name,
        "avatar_hash": bytes(20),
    }
    return messages.PERSONA_STATE.encode({"status_flags": 0x151, "friends": [friend]})
