"""What a person has to do, by Steam's result: the words of the one line that an operator gets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

from actors.accounts.quota import NEED
from actors.errors import LogOnRefused, NeedsHuman, SteamUnreachable

_FRESH_TOKEN: Final = "a look: Steam refuses a token that it has just given out"  # noqa: S105 - words
_BANNED: Final = "to be replaced: Steam has banned, suspended or disabled it"

NEEDS: Final[Mapping[int, str]] = {
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
            return f"{NEEDS.get(eresult, _UNKNOWN)} (result {eresult})"
        case _:
            return str(failure)
