"""Admin operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from actors.accounts.formats import NEW_NAME, NOT_A_NEW_NAME, NOT_ONE, PATTERN
from actors.bot.messages import LARGEST_FLEET
from actors.http.content import JSON
from actors.http.openapi import outputs
from actors.http.openapi.inputs import without_point
from actors.http.openapi.operation import (
    BODY,
    Answer,
    Content,
    Needs,
    Operation,
    Parameter,
    Words,
    in_json,
    words,
)

LONGEST_CODE: Final = 10


def _like(pattern: str, problem: str) -> Callable[[str], str]:
    """Return a validator of a pattern whose error explains the rule."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("unusable", "{problem}", {"problem": problem})
        return text

    return check


ACCOUNT: Final = Parameter("name", "path", TypeAdapter(str), "An account's name.")
BOT: Final = Parameter(
    "bot_id", "path", TypeAdapter(str), "A bot's name, as in /status.", examples=["bot-1"]
)
FORCE: Final = Parameter(
    "force",
    "query",
    TypeAdapter[str](Literal["0", "1"]),
    "`1`: also while the account is in use.",
    default="0",
)


class Body(BaseModel):
    """Body of an admin request."""

    model_config = ConfigDict(frozen=True)


_Code = Annotated[str, Field(strict=True, pattern=rf"^\s*([0-9A-Za-z]\s*){{1,{LONGEST_CODE}}}$")]


class GuardCode(Body):
    """Steam Guard code."""

    code: _Code | None = Field(
        None,
        description="Steam Guard code from the e-mail or the app; case and spaces are ignored.",
    )


AccountName = Annotated[
    str,
    Field(strict=True, json_schema_extra={"pattern": NEW_NAME}),
    AfterValidator(_like(NEW_NAME, NOT_A_NEW_NAME)),
]
SharedSecret = Annotated[
    str,
    Field(strict=True, json_schema_extra={"pattern": PATTERN}),
    AfterValidator(_like(PATTERN, NOT_ONE)),
]


class AccountToAdd(Body):
    """Account to add; an existing account gets the new password."""

    name: AccountName = Field(examples=["abaddon"])
    password: str = Field(strict=True, min_length=1, repr=False)
    shared_secret: SharedSecret | None = Field(
        None,
        repr=False,
        description="Secret of the authenticator: base64, hex or base32 of 20 bytes.",
    )


class FleetSize(Body):
    """Number of bots."""

    count: Annotated[
        int, Field(strict=True, ge=1, le=LARGEST_FLEET), BeforeValidator(without_point)
    ]


_STORE: Final[Words] = {503: ("store-unavailable", "store-misused")}
_INVALID: Final[Words] = {400: ("invalid",)}
_UNKNOWN: Final[Words] = {404: ("not-found",)}
_DRAINED: Final[Words] = {409: ("drained",)}


def _admin(
    call: str,
    summary: str,
    details: str,
    answers: Mapping[int, Answer],
    *errors: Words,
    parameters: tuple[Parameter[Any], ...] = (),
    body: Content | None = None,
    body_is_required: bool = True,
) -> Operation:
    """Return an operation that needs the admin token. `errors`: beside those of all such operations."""
    method, path = call.split()
    return Operation(
        method,
        path,
        summary,
        details,
        answers,
        words(
            {
                401: ("unauthorized",),
                403: ("foreign-page", "foreign-host"),
                429: ("rate-limited",),
                504: ("timeout",),
            },
            *errors,
        ),
        tag="admin",
        parameters=parameters,
        body=body or {},
        body_is_required=body_is_required,
        needs=Needs.ADMIN,
    )


_TOUCHED: Final = in_json(200, "Done.", outputs.AccountTouched)
_PLAN: Final = in_json(202, "Accepted; the new fleet plan.", outputs.FleetOutput)

GET_ACCOUNTS: Final = _admin(
    "GET /admin/accounts",
    "List the accounts",
    "State, budget and when it frees, holder, cooldown and its reason, last log-on; no secrets.",
    in_json(200, "All accounts, by name.", outputs.AccountsOutput),
    _STORE,
)
POST_ACCOUNT: Final = _admin(
    "POST /admin/accounts",
    "Add an account, or change its password",
    "The next free bot uses it, within seconds.",
    in_json(201, "The account is added.", outputs.AccountTouched),
    _INVALID,
    BODY,
    _STORE,
    body={JSON: AccountToAdd},
)
POST_IMPORT: Final = _admin(
    "POST /admin/import",
    "Import accounts",
    "The body is a file, 4 MiB at most: lines `name:password` or `name:password:shared-secret` (also "
    "with `,` `;` `|` or TAB), CSV with a header, JSON with name, password and optional shared_secret, "
    "maFiles or ASF bot files. Either all accounts are imported, or none, and `problems` lists the "
    "reasons. A maFile holds no password: its account must have one already, otherwise 409.",
    in_json(200, "Result of the import.", outputs.Imported),
    {**_INVALID, 409: ("no-password",)},
    BODY,
    _STORE,
    body={"text/plain": {"type": "string"}},
    body_is_required=False,
)
DELETE_ACCOUNT: Final = _admin(
    "DELETE /admin/accounts/{name}",
    "Remove an account",
    "Removes the account with its password, tokens and budget. Refused while the account is in use, "
    "unless forced: then its bot notices within seconds and stops using it.",
    _TOUCHED,
    {**_INVALID, **_UNKNOWN, 409: ("in-use",)},
    _STORE,
    parameters=(ACCOUNT, FORCE),
)
POST_RELEASE: Final = _admin(
    "POST /admin/accounts/{name}/release",
    "Release an account",
    "Ends the checkout of a crashed client. Refused while the lease is valid, unless forced.",
    _TOUCHED,
    {**_INVALID, **_UNKNOWN, 409: ("in-use",)},
    _STORE,
    parameters=(ACCOUNT, FORCE),
)
POST_RESET: Final = _admin(
    "POST /admin/accounts/{name}/reset",
    "Reset an account",
    "Ends its cooldown and clears its used budget.",
    _TOUCHED,
    _UNKNOWN,
    _STORE,
    parameters=(ACCOUNT,),
)
POST_GUARD: Final = _admin(
    "POST /admin/accounts/{name}/guard",
    "Log an account on interactively",
    "Without a Steam Guard code the log-on begins, and the response names what Steam requires.",
    {
        **in_json(200, "The account is logged on, and its token is stored.", outputs.GuardOutput),
        **in_json(202, "Steam requires a code.", outputs.GuardOutput),
    },
    {**_INVALID, **_UNKNOWN, 409: ("bad-name", "in-use", "no-password", "sealed")},
    {502: ("steam-refused",)},
    BODY,
    _STORE,
    parameters=(ACCOUNT,),
    body={JSON: GuardCode},
    body_is_required=False,
)
POST_RESTART: Final = _admin(
    "POST /admin/bots/{bot_id}/restart",
    "Restart a bot",
    "The bot finishes its requests, logs off and starts again with its failure count reset. Also starts "
    "a parked bot.",
    _PLAN,
    _UNKNOWN,
    _DRAINED,
    parameters=(BOT,),
)
POST_PARK: Final = _admin(
    "POST /admin/bots/{bot_id}/park",
    "Park a bot",
    "The bot finishes its requests, logs off, releases its account and stays parked until it is unparked "
    "or the service restarts.",
    _PLAN,
    _UNKNOWN,
    parameters=(BOT,),
)
POST_UNPARK: Final = _admin(
    "POST /admin/bots/{bot_id}/unpark",
    "Unpark a bot",
    "A bot that is parked or waits for its next try starts now.",
    _PLAN,
    _UNKNOWN,
    _DRAINED,
    parameters=(BOT,),
)
GET_FLEET: Final = _admin(
    "GET /admin/fleet",
    "Fleet plan",
    "The number of bots in effect and in the settings, parked bots, bots that still finish requests.",
    in_json(200, "The fleet plan.", outputs.FleetOutput),
)
POST_SCALE: Final = _admin(
    "POST /admin/fleet/scale",
    "Scale the fleet",
    "In effect until bots.count is edited in the settings, or the service restarts.",
    _PLAN,
    _INVALID,
    BODY,
    body={JSON: FleetSize},
)
POST_DRAIN: Final = _admin(
    "POST /admin/fleet/drain",
    "Drain the fleet",
    "Bots accept no more requests; each finishes its requests, logs off and releases its account. Until "
    "the fleet is resumed or the service restarts, only cached matches are answered.",
    _PLAN,
)
POST_RESUME: Final = _admin(
    "POST /admin/fleet/resume",
    "Resume the fleet",
    "Starts all bots except those that an operator parked.",
    _PLAN,
)
