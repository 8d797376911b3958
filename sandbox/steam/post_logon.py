"""Messages that Steam sends after a log-on.

Order as observed on real CMs, with things no client knows strewn in on purpose: EMsgs without a
name, struct messages, a service notification of a method that exists nowhere.
"""

from __future__ import annotations

import struct

from sandbox.protocol import messages
from sandbox.protocol.emsg import DOTA, UNKNOWN_EMSGS, EMsg
from sandbox.protocol.wire import Shape, field
from sandbox.steam.session import Session

_SERVER_TYPES = (2, 7, 8, 20, 50, 56, 64, 71, 73)
DOTA_PACKAGE = 35_000 + DOTA  # stands for the package that grants the game
_FEATURE_GROUP = Shape(
    "CMsgClientFeatureGroupInfo", field(1, "groupid", "uint32"), field(2, "members", "bytes")
)
_UNKNOWN_NOTIFICATION = "SandboxUnknown.NotifyUnknown#1"


def first(session: Session, answer: bytes) -> list[bytes]:
    """Return the Multi that holds the logon answer.

    A message that steam 1.4.4 has no name for costs it the rest of the Multi, and so the answer.
    """
    before = [] if session.services.options.stock_clients else unknown(session)
    return [
        session.wrapped(EMsg.SERVERS_AVAILABLE, _servers()),
        *before,
        session.wrapped(EMsg.LOGON_RESPONSE, answer),
        session.wrapped(EMsg.ACCOUNT_INFO, _account_info(session)),
        session.wrapped(EMsg.EMAIL_INFO, messages.EMAIL_INFO.encode(_email(session))),
        session.wrapped(EMsg.FRIENDS_LIST, _friends(session)),
        session.wrapped(EMsg.FRIENDS_GROUPS, _empty_list()),
        session.wrapped(EMsg.NICKNAMES, _empty_list()),
        session.wrapped(EMsg.LICENSE_LIST, licenses(session)),
        # No guest passes: two counts of zero in the old struct form.
        session.struct_wrapped(EMsg.GUEST_PASSES, struct.pack("<iii", 1, 0, 0)),
        session.wrapped(EMsg.WALLET_INFO, messages.WALLET_INFO.encode({"has_wallet": False})),
        session.wrapped(EMsg.GAME_CONNECT_TOKENS, _tokens(session)),
        *unknown(session),
        notification(session),
    ]


def second(session: Session) -> list[bytes]:
    """Return the Multi that follows."""
    token = {"token": session.services.rng.getrandbits(63)}
    limited = {"bis_limited_account": False, "bis_locked_account": False}
    player = session.sessions.player(session.name or "")
    playing = {
        "playing_blocked": player is not None and player is not session,
        "playing_app": player.apps[0] if player and player.apps else 0,
    }
    return [
        session.wrapped(EMsg.SESSION_TOKEN, messages.SESSION_TOKEN.encode(token)),
        session.wrapped(EMsg.IS_LIMITED_ACCOUNT, messages.LIMITED_ACCOUNT.encode(limited)),
        session.wrapped(EMsg.REQUESTED_STATS, _stats()),
        session.wrapped(EMsg.PLAYING_SESSION_STATE, messages.PLAYING_STATE.encode(playing)),
        session.struct_wrapped(EMsg.VAC_BAN_STATUS, struct.pack("<I", 0)),
        session.wrapped(EMsg.PERSONA_STATE, _persona(session)),
    ]


def unknown(session: Session) -> list[bytes]:
    """Return messages with numbers that no client has a name for."""
    body = _FEATURE_GROUP.encode({"groupid": 17, "members": bytes(24)})
    return [session.wrapped(emsg, body) for emsg in UNKNOWN_EMSGS]


def notification(session: Session) -> bytes:
    """Return a service notification of a method that does not exist."""
    header = messages.HEADER.encode({"target_job_name": _UNKNOWN_NOTIFICATION})
    return session.wrapped(EMsg.SERVICE_METHOD, b"\x08\x01", extra=header)


def licenses(session: Session) -> bytes:
    """Return the account's ClientLicenseList."""
    account = session.account
    packages = [0, 17_906, 303_386]  # every account has a few
    if session.name in session.services.licensed:
        packages.append(DOTA_PACKAGE)
    rows = [
        {
            "package_id": package,
            "time_created": int(session.services.now()) - 86400 * 400,
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
    tokens = [session.services.rng.randbytes(20) for _ in range(10)]
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
