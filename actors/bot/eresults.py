"""EResult -> LogonResult, and what an operator has to do.

The numbers are Steam's EResult (SteamKit `eresult.steamd`, June 2026); the actions follow
node-steam-user, ArchiSteamFarm and public reports of their users. An unknown number is retried.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Mapping
from typing import Final

from actors.accounts.models import NEED
from actors.errors import (
    CannotDecrypt,
    ClockUncertain,
    LogOnRefused,
    NeedsHuman,
    NoPassword,
    PlayingElsewhere,
    SteamUnreachable,
)


class LogonResult(enum.StrEnum):
    """Meaning of an EResult for the bot, the CM, the egress IP and the account."""

    RETRY = "retry"  # trouble inside Steam: retry after the backoff
    OTHER_CM = "other_cm"  # this CM does not serve: retry with another
    TRY_LATER = "try_later"  # as above, after a longer delay
    ONCE_MORE = "once_more"  # retry once: each try asks a person
    UNKNOWN = "unknown"  # not in the tables: retry a limited number of times
    TOKEN_DEAD = "token_dead"  # noqa: S105 - a word. Log on with the password
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a word. An operator is needed; retried daily
    RATE_LIMITED = "rate_limited"  # too many log-ons: wait long, as each try restarts the ban
    THROTTLED = "throttled"  # as above, and also for this account
    IP_BANNED = "ip_banned"  # as above, permanently
    OUTDATED = "outdated"  # Steam refuses this client version
    PLAYING_ELSEWHERE = "playing_elsewhere"  # another client uses the account
    REPLACED = "replaced"  # another instance logged on: a lease conflict, so yield
    NEEDS_HUMAN = "needs_human"  # a code, an agreement, a captcha
    NOT_HERE = "not_here"  # key, clock or address of this instance is wrong
    UNUSABLE = "unusable"  # banned, disabled or locked; only once confirmed
    OUR_BUG = "our_bug"  # the message is invalid; only once confirmed


_ALWAYS: Final[Mapping[int, LogonResult]] = {
    0: LogonResult.OTHER_CM,  # Invalid: closed without a reason
    1: LogonResult.RETRY,  # OK: logged off, and nothing is wrong
    2: LogonResult.OTHER_CM,  # Fail
    3: LogonResult.OTHER_CM,  # NoConnection
    6: LogonResult.PLAYING_ELSEWHERE,  # LoggedInElsewhere
    7: LogonResult.OUTDATED,  # InvalidProtocolVer
    8: LogonResult.OUR_BUG,  # InvalidParam
    9: LogonResult.RETRY,  # FileNotFound
    10: LogonResult.RETRY,  # Busy
    16: LogonResult.OTHER_CM,  # Timeout
    17: LogonResult.UNUSABLE,  # Banned
    18: LogonResult.UNUSABLE,  # AccountNotFound
    19: LogonResult.UNUSABLE,  # InvalidSteamID
    20: LogonResult.OTHER_CM,  # ServiceUnavailable
    21: LogonResult.RETRY,  # NotLoggedOn
    25: LogonResult.RATE_LIMITED,  # LimitExceeded
    29: LogonResult.RETRY,  # DuplicateRequest: already approved
    34: LogonResult.REPLACED,  # LogonSessionReplaced
    35: LogonResult.OTHER_CM,  # ConnectFailed
    36: LogonResult.OTHER_CM,  # HandshakeFailed
    38: LogonResult.OTHER_CM,  # RemoteDisconnect
    43: LogonResult.UNUSABLE,  # AccountDisabled
    48: LogonResult.OTHER_CM,  # TryAnotherCM
    49: LogonResult.PLAYING_ELSEWHERE,  # PasswordRequiredToKickSession
    50: LogonResult.PLAYING_ELSEWHERE,  # AlreadyLoggedInElsewhere
    51: LogonResult.UNUSABLE,  # Suspended
    55: LogonResult.OTHER_CM,  # RemoteCallFailed
    63: LogonResult.NEEDS_HUMAN,  # AccountLogonDenied: e-mail code
    65: LogonResult.NEEDS_HUMAN,  # InvalidLoginAuthCode
    66: LogonResult.NEEDS_HUMAN,  # AccountLogonDeniedNoMail
    71: LogonResult.NEEDS_HUMAN,  # ExpiredLoginAuthCode
    72: LogonResult.NOT_HERE,  # IPLoginRestrictionFailed: not from this address
    73: LogonResult.UNUSABLE,  # AccountLockedDown
    74: LogonResult.NEEDS_HUMAN,  # AccountLogonDeniedVerifiedEmailRequired
    77: LogonResult.NEEDS_HUMAN,  # RequirePasswordReEntry
    80: LogonResult.UNUSABLE,  # Disabled
    84: LogonResult.RATE_LIMITED,  # RateLimitExceeded
    85: LogonResult.NEEDS_HUMAN,  # AccountLoginDeniedNeedTwoFactor
    87: LogonResult.THROTTLED,  # AccountLoginDeniedThrottle
    88: LogonResult.NEEDS_HUMAN,  # TwoFactorCodeMismatch
    89: LogonResult.NEEDS_HUMAN,  # TwoFactorActivationCodeMismatch
    101: LogonResult.NEEDS_HUMAN,  # NeedCaptcha
    102: LogonResult.OUR_BUG,  # GSLTDenied: for game servers
    105: LogonResult.IP_BANNED,  # IPBanned
    106: LogonResult.OUR_BUG,  # GSLTExpired: as 102
    112: LogonResult.RETRY,  # LimitedUserAccount: concerns unused features
    114: LogonResult.UNUSABLE,  # AccountDeleted
    118: LogonResult.NEEDS_HUMAN,  # MustAgreeToSSA
    123: LogonResult.RETRY,  # NoVerifiedPhone: as 112
    131: LogonResult.TRY_LATER,  # TryLater
}

# Other meanings in a log-on with a token (ArchiSteamFarm drops the token on these).
_WITH_TOKEN: Final[Mapping[int, LogonResult]] = {
    5: LogonResult.TOKEN_DEAD,  # InvalidPassword: wrong audience or account
    15: LogonResult.TOKEN_DEAD,  # AccessDenied: revoked, password changed
    26: LogonResult.TOKEN_DEAD,  # Revoked
    27: LogonResult.TOKEN_DEAD,  # Expired
    126: LogonResult.TOKEN_DEAD,  # CachedCredentialInvalid
}

_WITH_PASSWORD: Final[Mapping[int, LogonResult]] = {
    5: LogonResult.WRONG_PASSWORD,
    9: LogonResult.ONCE_MORE,  # the owner denied it, or the auth session is gone
    15: LogonResult.NEEDS_HUMAN,  # of a new token: the password cannot help
    26: LogonResult.NEEDS_HUMAN,
    27: LogonResult.RETRY,  # the auth session has expired: start again
    126: LogonResult.NEEDS_HUMAN,
}


def is_known(eresult: int) -> bool:
    """Whether the tables contain this number."""
    return eresult in _ALWAYS or eresult in _WITH_TOKEN


def classify_logon(eresult: int, *, with_password: bool) -> LogonResult:
    """Classify a refusal inside the credential flow, or else of a refresh token."""
    own = _WITH_PASSWORD if with_password else _WITH_TOKEN
    return own.get(eresult) or _ALWAYS.get(eresult, LogonResult.UNKNOWN)


def classify(failure: BaseException | None) -> LogonResult | None:
    """Classify a failed run; None when Steam gave no result."""
    match failure:
        case CannotDecrypt() | ClockUncertain():
            return LogonResult.NOT_HERE
        case LogOnRefused(phase=phase, eresult=eresult):
            return classify_logon(eresult, with_password=phase == "credentials")
        case SteamUnreachable(eresult=int(eresult)):  # logged off with a reason
            is_listed = is_known(eresult)
            return classify_logon(eresult, with_password=False) if is_listed else LogonResult.RETRY
        case PlayingElsewhere():
            return LogonResult.PLAYING_ELSEWHERE
        case NoPassword() | NeedsHuman():
            return LogonResult.NEEDS_HUMAN
        case _:
            return None


_FRESH_TOKEN: Final = "a look: Steam refuses a token that it has just given out"  # noqa: S105 - words
_BANNED: Final = "to be replaced: Steam has banned, suspended or disabled it"

OPERATOR_ACTION: Final[Mapping[int, str]] = {
    5: "the right password: Steam refuses the one that is stored",
    7: "a newer BotAPI: Steam does not accept our protocol version any more",
    9: "an approval: the log-on was denied in the Steam app, or not given in time",
    15: _FRESH_TOKEN,
    17: _BANNED,
    18: "the right name: Steam knows no such account",
    19: "the right name: Steam knows no such account",
    26: _FRESH_TOKEN,
    43: _BANNED,
    51: _BANNED,
    63: "a Steam Guard code, which Steam has sent by e-mail",
    65: "a Steam Guard code from the e-mail: the one given was wrong",
    66: "an e-mail address that Steam can send a Steam Guard code to",
    71: "a newer Steam Guard code from the e-mail: the one given has expired",
    72: "another egress address: the account may not log on from this one",
    73: "Steam's support or its owner: it is locked",
    74: "its e-mail address verified in the Steam client",
    77: "a log-on by hand in the Steam client: Steam wants the password typed again",
    80: _BANNED,
    85: "a Steam Guard code from the authenticator app, or the app's shared secret",
    88: "the right shared secret: Steam refuses the codes that are made of the one stored",
    89: "the activation of its authenticator app finished",
    101: "a log-on by hand in the Steam client: Steam shows a captcha",
    105: "another egress address: Steam has banned this one",
    114: "to be replaced: it was deleted",
    118: "the Steam Subscriber Agreement accepted in the Steam client",
    126: _FRESH_TOKEN,
}
_UNKNOWN: Final = "a look: Steam answers with an unknown result, again and again"


# Words of an action -> the command of `botapi accounts` that completes it; the first match counts. Other
# actions are done at Steam or in the settings, and `reset` makes the account available again.
_COMMANDS: Final[tuple[tuple[str, str], ...]] = (
    ("in the Steam client", "reset"),
    ("Steam Guard code", "login"),
    ("approv", "login"),
    ("follow the link", "login"),
    ("shared secret", "add --with-shared-secret"),
    ("password", "add"),
    ("to be replaced", "remove"),
    ("right name", "remove"),
)


def operator_action(failure: BaseException) -> str:
    """Return what an operator has to provide, as the object of "the account needs ..."."""
    match failure:
        case NeedsHuman(need=action):
            return action
        case LogOnRefused(eresult=eresult) | SteamUnreachable(eresult=int(eresult)):
            return f"{OPERATOR_ACTION.get(eresult, _UNKNOWN)} (result {eresult})"
        case _:
            return str(failure)


def action_reason(action: str) -> str:
    """Return an operator action as the reason of a cooldown."""
    return NEED + action


def action_in(reason: str | None) -> str | None:
    """Return the operator action in a cooldown's reason; None if it is another reason."""
    return reason.removeprefix(NEED) if reason and reason.startswith(NEED) else None


def command_for(account: str, action: str) -> str:
    """Return the command that completes an operator action, or that reports it as done."""
    name = shlex.quote(account)
    word = next((word for words, word in _COMMANDS if words in action), "reset")
    return f"botapi accounts {word} {f'-- {name}' if account.startswith('-') else name}"
