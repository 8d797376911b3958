"""EResult -> action, cooldown and operator message.

The numbers are Steam's EResult (SteamKit `eresult.steamd`, June 2026); what to do with each follows
node-steam-user, ArchiSteamFarm and public reports of their users. An unknown number is retried.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Mapping
from typing import Final

from actors.accounts.models import NEED, UNTIL_ACTED_S
from actors.errors import (
    CannotDecrypt,
    ClockUncertain,
    LeaseLost,
    LogOnRefused,
    NeedsHuman,
    NoPassword,
    PlayingElsewhere,
    SteamUnreachable,
    StoreUnavailable,
)

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0


class LogonResult(enum.StrEnum):
    """What a result asks of us."""

    RETRY = "retry"  # trouble inside Steam: back off, try again
    OTHER_CM = "other_cm"  # this CM will not serve us: take another
    TRY_LATER = "try_later"  # as above, and give it more time
    ONCE_MORE = "once_more"  # try again; a second time would annoy a person
    UNKNOWN = "unknown"  # no table has this number: try again, a limited number of times
    TOKEN_DEAD = "token_dead"  # noqa: S105 - a word, not a token. Log on with the password, once
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a word. A person is needed; it is tried once more
    RATE_LIMITED = "rate_limited"  # too many logons: wait long, each try restarts the ban
    THROTTLED = "throttled"  # as above, and of this account, too
    IP_BANNED = "ip_banned"  # as above, for good
    OUTDATED = "outdated"  # Steam refuses this client version for all accounts
    PLAYING_ELSEWHERE = "playing_elsewhere"  # a person (or another bot) uses the account
    REPLACED = "replaced"  # a twin of ours logged on: a lease conflict, do not fight
    NEEDS_HUMAN = "needs_human"  # a code, an agreement, a captcha
    NOT_HERE = "not_here"  # our key, clock or address does not do for it; another instance's may
    UNUSABLE = "unusable"  # banned, disabled, locked: stop using the account, once it is confirmed
    OUR_BUG = "our_bug"  # our message is wrong, once it is confirmed


_EVERYWHERE: Final[Mapping[int, LogonResult]] = {
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
    29: LogonResult.RETRY,  # DuplicateRequest: approved meanwhile
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
    72: LogonResult.NOT_HERE,  # IPLoginRestrictionFailed: not from our address
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
    102: LogonResult.OUR_BUG,  # GSLTDenied: we are no game server
    105: LogonResult.IP_BANNED,  # IPBanned
    106: LogonResult.OUR_BUG,  # GSLTExpired: as 102
    112: LogonResult.RETRY,  # LimitedUserAccount: of features that we do not use
    114: LogonResult.UNUSABLE,  # AccountDeleted
    118: LogonResult.NEEDS_HUMAN,  # MustAgreeToSSA
    123: LogonResult.RETRY,  # NoVerifiedPhone: as 112
    131: LogonResult.TRY_LATER,  # TryLater
}

# The same numbers mean something else while a token is shown (ArchiSteamFarm drops it on these).
_WITH_TOKEN: Final[Mapping[int, LogonResult]] = {
    5: LogonResult.TOKEN_DEAD,  # InvalidPassword: wrong audience or account
    15: LogonResult.TOKEN_DEAD,  # AccessDenied: revoked, password changed
    26: LogonResult.TOKEN_DEAD,  # Revoked
    27: LogonResult.TOKEN_DEAD,  # Expired
    126: LogonResult.TOKEN_DEAD,  # CachedCredentialInvalid
}

_WITH_PASSWORD: Final[Mapping[int, LogonResult]] = {
    5: LogonResult.WRONG_PASSWORD,
    9: LogonResult.ONCE_MORE,  # the owner said no, or the auth session is gone
    15: LogonResult.NEEDS_HUMAN,  # of a token that is fresh: the password will not mend it
    26: LogonResult.NEEDS_HUMAN,
    27: LogonResult.RETRY,  # the auth session grew too old: start again
    126: LogonResult.NEEDS_HUMAN,
}

MARKS_CM: Final = frozenset({LogonResult.OTHER_CM, LogonResult.TRY_LATER})
STOPS_IP: Final = frozenset(
    {LogonResult.RATE_LIMITED, LogonResult.THROTTLED, LogonResult.IP_BANNED, LogonResult.OUTDATED}
)
NEEDS_PERSON: Final = frozenset(
    {
        LogonResult.NEEDS_HUMAN,
        LogonResult.WRONG_PASSWORD,
        LogonResult.UNUSABLE,
        LogonResult.IP_BANNED,
        LogonResult.OUTDATED,
    }
)
# So many strikes within hours are forgiven; with the next one a person has to look.
FORGIVEN: Final[Mapping[LogonResult, int]] = {
    LogonResult.ONCE_MORE: 1,
    LogonResult.UNKNOWN: 2,
}
# Steam says so to good accounts, too, when its own parts are in trouble. A second such answer that comes
# at least `CONFIRM_S` after the first confirms it, and then the account is tried once in `CONFIRMED_S`.
TO_CONFIRM: Final = frozenset({LogonResult.UNUSABLE, LogonResult.OUR_BUG})
CONFIRM_S: Final = 10 * MINUTE_S
CONFIRMED_S: Final = 24 * HOUR_S
IN_USE_ELSEWHERE: Final = frozenset({LogonResult.PLAYING_ELSEWHERE, LogonResult.REPLACED})
GROWING: Final = TO_CONFIRM | IN_USE_ELSEWHERE | {LogonResult.UNKNOWN}  # twice as long each time
LONGEST_GROWN_S: Final = HOUR_S
AVOID_S: Final = 30 * MINUTE_S  # how long this process leaves alone what it cannot use (NOT_HERE)

# Cooldown of the account in seconds, for all instances; None: the account is not at fault.
COOLDOWN_S: Final[Mapping[LogonResult, float | None]] = {
    LogonResult.RETRY: None,
    LogonResult.OTHER_CM: None,
    LogonResult.TRY_LATER: None,  # see RETRY_AFTER_S
    LogonResult.ONCE_MORE: None,
    LogonResult.UNKNOWN: 2 * MINUTE_S,
    LogonResult.TOKEN_DEAD: None,
    # Steam says so sometimes when it means "too often": tried once more, and then until a person acts.
    LogonResult.WRONG_PASSWORD: 30 * MINUTE_S,
    LogonResult.RATE_LIMITED: None,  # it is the IP that is limited, and it has a circuit of its own
    LogonResult.THROTTLED: 30 * MINUTE_S,
    LogonResult.IP_BANNED: None,
    LogonResult.OUTDATED: None,  # after an upgrade every account is as good as before
    LogonResult.PLAYING_ELSEWHERE: 5 * MINUTE_S,
    LogonResult.REPLACED: 2 * MINUTE_S,  # a twin of ours finds out meanwhile that it has no lease
    LogonResult.NEEDS_HUMAN: UNTIL_ACTED_S,  # each try mails a code, asks in the app or counts at Steam
    LogonResult.NOT_HERE: None,  # a fault of this instance: Redis is shared, and not told of it
    LogonResult.UNUSABLE: 2 * MINUTE_S,
    LogonResult.OUR_BUG: 2 * MINUTE_S,
}
# How long an account waits that was refused together with others; of other verdicts no longer than the
# backoff. Each wrong password brings the limit of log-ons nearer, also when it is right.
SHARED_COOLDOWN_S: Final[Mapping[LogonResult, float]] = {LogonResult.WRONG_PASSWORD: 2 * MINUTE_S}
# The longer a shared refusal lasts, the less often Steam is asked: refused log-ons count most.
SHARED_WAIT_SHARE: Final = 0.25  # of how long it lasts
SHARED_LONGEST_WAIT_S: Final = 2 * MINUTE_S
# How long a bot waits before its backoff begins, whatever the account.
RETRY_AFTER_S: Final[Mapping[LogonResult, float]] = {LogonResult.TRY_LATER: 15.0}


def is_known(eresult: int) -> bool:
    """Whether the tables have this number."""
    return eresult in _EVERYWHERE or eresult in _WITH_TOKEN


def verdict_on_token(eresult: int) -> LogonResult:
    """Judge a refused logon with a refresh token."""
    return _WITH_TOKEN.get(eresult) or _EVERYWHERE.get(eresult, LogonResult.UNKNOWN)


def verdict_on_password(eresult: int) -> LogonResult:
    """Judge a refusal inside the credential flow."""
    return _WITH_PASSWORD.get(eresult) or _EVERYWHERE.get(eresult, LogonResult.UNKNOWN)


def verdict_on_log_off(eresult: int) -> LogonResult:
    """Judge a ClientLoggedOff. An unknown number means a retry, as no number does."""
    return verdict_on_token(eresult) if is_known(eresult) else LogonResult.RETRY


def classify(failure: BaseException | None) -> LogonResult | None:
    """Return what a failure says about the account or the CM; None when it says nothing."""
    match failure:
        case CannotDecrypt() | ClockUncertain():
            return LogonResult.NOT_HERE
        case LogOnRefused(phase=phase, eresult=eresult):
            of_phase = verdict_on_password if phase == "credentials" else verdict_on_token
            return of_phase(eresult)
        case SteamUnreachable(eresult=int(eresult)):  # logged off, and Steam said why
            return verdict_on_log_off(eresult)
        case PlayingElsewhere():
            return LogonResult.PLAYING_ELSEWHERE
        case NoPassword() | NeedsHuman():
            return LogonResult.NEEDS_HUMAN
        case _:
            return None


def after_strikes(verdict: LogonResult, strikes: int) -> LogonResult:
    """Return `verdict` as it is when it has been given `strikes` times within hours."""
    forgiven = FORGIVEN.get(verdict)
    return verdict if forgiven is None or strikes <= forgiven else LogonResult.NEEDS_HUMAN


def cooldown_s(verdict: LogonResult, strikes: int, *, confirmed: bool = False) -> float | None:
    """Return for how many seconds no bot tries the account; None when it is not at fault.

    `strikes`: how often the verdict was given within hours. `confirmed`: see `TO_CONFIRM`.
    """
    if confirmed:
        return CONFIRMED_S
    seconds = COOLDOWN_S[verdict]
    if seconds is None or verdict not in GROWING:
        return seconds
    return min(LONGEST_GROWN_S, seconds * 2.0 ** min(strikes - 1, 10))


def stays_leased(failure: BaseException | None) -> bool:
    """Whether the account must not be given back.

    After a connection that broke without a word Steam may not know yet that we are gone: our next life
    takes the account back at once, anybody else only when the lease has lapsed, which is later than
    Steam's patience with a silent connection. And what is not ours is not ours to give.
    """
    match failure:
        case SteamUnreachable(eresult=None) | LeaseLost() | StoreUnavailable():
            return True
        case _:
            return False


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


# Words of a need -> the command of `botapi accounts` that ends it; the first that fits. What is not
# listed is done outside of the service, at Steam or in the settings, and `reset` has it tried again.
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


def as_reason(need: str) -> str:
    """Return a need as the reason of a cooldown."""
    return NEED + need


def is_need(reason: str | None) -> bool:
    """Whether a cooldown's reason says that a person is needed."""
    return reason is not None and reason.startswith(NEED)


def need_in(reason: str) -> str:
    """Return the need in a cooldown's reason; see `as_reason`."""
    return reason.removeprefix(NEED)


def command_for(account: str, need: str) -> str:
    """Return what a person types when the account has what it needs, or to give it that."""
    name = shlex.quote(account)
    word = next((word for words, word in _COMMANDS if words in need), "reset")
    return f"botapi accounts {word} {f'-- {name}' if account.startswith('-') else name}"


def need_of(failure: BaseException) -> str:
    """Return what the account needs, in words an operator understands."""
    match failure:
        case NeedsHuman(need=need):
            return need
        case LogOnRefused(eresult=eresult) | SteamUnreachable(eresult=int(eresult)):
            return f"{OPERATOR_ACTION.get(eresult, _UNKNOWN)} (result {eresult})"
        case _:
            return str(failure)
