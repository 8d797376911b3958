"""Admin operations."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
)
from pydantic_core import PydanticCustomError

from actors.accounts.formats import NEW_NAME, NOT_A_NEW_NAME, NOT_ONE, PATTERN
from actors.bot.messages import LARGEST_FLEET
from actors.http.openapi.inputs import without_point
from actors.http.openapi.operation import BODY, Answer, Needs, Operation, Parameter, Words
from actors.http.openapi.outputs import (
    AccountsOutput,
    AccountTouched,
    FleetOutput,
    GuardOutput,
    Imported,
)

LONGEST_CODE: Final = 10
_JSON: Final = "application/json"


def _like(pattern: str, problem: str) -> Callable[[str], str]:
    """Return a validator of a pattern whose error explains the rule."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("unusable", "{problem}", {"problem": problem})
        return text

    return check


ACCOUNT: Final = Parameter(
    "name", "path", TypeAdapter[str](Annotated[str, Field(description="An account's name.")])
)
BOT: Final = Parameter(
    "bot_id",
    "path",
    TypeAdapter[str](
        Annotated[str, Field(description="A bot's name, as in /status.", examples=["bot-1"])]
    ),
)
FORCE: Final = Parameter(
    "force",
    "query",
    TypeAdapter[str](
        Annotated[Literal["0", "1"], Field(description="`1`: also while the account is in use.")]
    ),
    default="0",
)


class Body(BaseModel):
    """Body of an admin request."""

    model_config = ConfigDict(frozen=True)


class GuardCode(Body):
    """Steam Guard code."""

    code: (
        Annotated[
            str,
            Field(strict=True, pattern=rf"^\s*([0-9A-Za-z]\s*){{1,{LONGEST_CODE}}}$"),
        ]
        | None
    ) = Field(
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


_EVERYWHERE: Final[Words] = {
    401: ("unauthorized",),
    403: ("foreign-page", "foreign-host"),
    429: ("rate-limited",),
    504: ("timeout",),
}
_STORE: Final[Words] = {503: ("store-unavailable", "store-misused")}
_TOUCHED: Final = {200: Answer("Done.", {_JSON: AccountTouched})}
_PLAN: Final = Answer("Accepted; the new fleet plan.", {_JSON: FleetOutput})


def _on_account(method: str, more: str, summary: str, details: str) -> Operation:
    """Return an operation on one account, which can be forced if the account is in use."""
    return Operation(
        method,
        f"/admin/accounts/{{name}}{more}",
        summary,
        details,
        answers=_TOUCHED,
        errors={
            400: ("invalid",),
            **_EVERYWHERE,
            404: ("not-found",),
            409: ("in-use",),
            **_STORE,
        },
        tag="admin",
        parameters=(ACCOUNT, FORCE),
        needs=Needs.ADMIN,
    )


def _on_bot(what: str, summary: str, details: str, *, refused: Words) -> Operation:
    return Operation(
        "POST",
        f"/admin/bots/{{bot_id}}/{what}",
        summary,
        details,
        answers={202: _PLAN},
        errors={**_EVERYWHERE, 404: ("not-found",), **refused},
        tag="admin",
        parameters=(BOT,),
        needs=Needs.ADMIN,
    )


def _on_fleet(what: str, summary: str, details: str) -> Operation:
    return Operation(
        "POST",
        f"/admin/fleet/{what}",
        summary,
        details,
        answers={202: _PLAN},
        errors=_EVERYWHERE,
        tag="admin",
        needs=Needs.ADMIN,
    )


GET_ACCOUNTS: Final = Operation(
    "GET",
    "/admin/accounts",
    "List the accounts",
    "State, budget and when it frees, holder, cooldown and its reason, last log-on; no secrets.",
    answers={200: Answer("All accounts, by name.", {_JSON: AccountsOutput})},
    errors={**_EVERYWHERE, **_STORE},
    tag="admin",
    needs=Needs.ADMIN,
)
POST_ACCOUNT: Final = Operation(
    "POST",
    "/admin/accounts",
    "Add an account, or change its password",
    "The next free bot uses it, within seconds.",
    answers={201: Answer("The account is added.", {_JSON: AccountTouched})},
    errors={400: ("invalid",), **_EVERYWHERE, **BODY, **_STORE},
    tag="admin",
    body=AccountToAdd,
    needs=Needs.ADMIN,
)
POST_IMPORT: Final = Operation(
    "POST",
    "/admin/import",
    "Import accounts",
    "The body is a file, 4 MiB at most: lines `name:password` or `name:password:shared-secret` (also "
    "with `,` `;` `|` or TAB), CSV with a header, JSON with name, password and optional shared_secret, "
    "maFiles or ASF bot files. Either all accounts are imported, or none, and `problems` lists the "
    "reasons. A maFile holds no password: its account must have one already, otherwise 409.",
    answers={200: Answer("Result of the import.", {_JSON: Imported})},
    errors={400: ("invalid",), 409: ("no-password",), **_EVERYWHERE, **BODY, **_STORE},
    tag="admin",
    body_is_text=True,
    body_is_required=False,
    needs=Needs.ADMIN,
)
DELETE_ACCOUNT: Final = _on_account(
    "DELETE",
    "",
    "Remove an account",
    "Removes the account with its password, tokens and budget. Refused while the account is in use, "
    "unless forced: then its bot notices within seconds and stops using it.",
)
POST_RELEASE: Final = _on_account(
    "POST",
    "/release",
    "Release an account",
    "Ends the checkout of a crashed client. Refused while the lease is valid, unless forced.",
)
POST_RESET: Final = Operation(
    "POST",
    "/admin/accounts/{name}/reset",
    "Reset an account",
    "Ends its cooldown and clears its used budget.",
    answers=_TOUCHED,
    errors={**_EVERYWHERE, 404: ("not-found",), **_STORE},
    tag="admin",
    parameters=(ACCOUNT,),
    needs=Needs.ADMIN,
)
POST_GUARD: Final = Operation(
    "POST",
    "/admin/accounts/{name}/guard",
    "Log an account on interactively",
    "Without a Steam Guard code the log-on begins, and the response names what Steam requires.",
    answers={
        200: Answer("The account is logged on, and its token is stored.", {_JSON: GuardOutput}),
        202: Answer("Steam requires a code.", {_JSON: GuardOutput}),
    },
    errors={
        400: ("invalid",),
        **_EVERYWHERE,
        404: ("not-found",),
        409: ("bad-name", "in-use", "no-password", "sealed"),
        **BODY,
        502: ("steam-refused",),
        **_STORE,
    },
    tag="admin",
    parameters=(ACCOUNT,),
    body=GuardCode,
    body_is_required=False,
    needs=Needs.ADMIN,
)
_DRAINED: Final[Words] = {409: ("drained",)}
POST_RESTART: Final = _on_bot(
    "restart",
    "Restart a bot",
    "The bot finishes its requests, logs off and starts again with its failure count reset. Also starts "
    "a parked bot.",
    refused=_DRAINED,
)
POST_PARK: Final = _on_bot(
    "park",
    "Park a bot",
    "The bot finishes its requests, logs off, releases its account and stays parked until it is unparked "
    "or the service restarts.",
    refused={},
)
POST_UNPARK: Final = _on_bot(
    "unpark",
    "Unpark a bot",
    "A bot that is parked or waits for its next try starts now.",
    refused=_DRAINED,
)
GET_FLEET: Final = Operation(
    "GET",
    "/admin/fleet",
    "Fleet plan",
    "The number of bots in effect and in the settings, parked bots, bots that still finish requests.",
    answers={200: Answer("The fleet plan.", {_JSON: FleetOutput})},
    errors=_EVERYWHERE,
    tag="admin",
    needs=Needs.ADMIN,
)
POST_SCALE: Final = Operation(
    "POST",
    "/admin/fleet/scale",
    "Scale the fleet",
    "In effect until bots.count is edited in the settings, or the service restarts.",
    answers={202: _PLAN},
    errors={400: ("invalid",), **_EVERYWHERE, **BODY},
    tag="admin",
    body=FleetSize,
    needs=Needs.ADMIN,
)
POST_DRAIN: Final = _on_fleet(
    "drain",
    "Drain the fleet",
    "Bots accept no more requests; each finishes its requests, logs off and releases its account. Until "
    "the fleet is resumed or the service restarts, only cached matches are answered.",
)
POST_RESUME: Final = _on_fleet(
    "resume", "Resume the fleet", "Starts all bots except those that an operator parked."
)
