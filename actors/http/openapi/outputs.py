"""Response types, and the JSON Schema of matches and profile cards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from google.protobuf.descriptor import FieldDescriptor as F
from pydantic import BaseModel, ConfigDict, Field, RootModel

from actors.accounts.admin import AccountRow
from actors.bot.messages import BotReport
from actors.dashboard.snapshot import Alert, Severity
from actors.matches.match import Availability
from actors.matches.protobuf import schema
from actors.matches.protobuf.schema import FieldSpec, Schema, card_schema, match_schema
from actors.router.messages import RouterReport

Json = dict[str, Any]

RETRIEVER_STEAM_ID: Final = "x-match-request-steamid"  # of the account that asked the GC
RETRIEVER_IP: Final = "x-match-request-ip"
RETRIEVER_NO_RETRY: Final = "x-match-noretry"
RETRIEVER_REASON: Final = "x-noretry-reason"


class ResponseModel(BaseModel):
    """One JSON object."""

    model_config = ConfigDict(frozen=True)


class Error(ResponseModel):
    """Error, and when to retry."""

    error: str = Field(description="Error word, for programs.")
    message: str = Field(description="Explanation, for people.")
    retry_after: int | None = Field(
        ge=1, description="Seconds until a retry makes sense; equals the Retry-After header."
    )


class Replay(ResponseModel):
    """Facts about a match's replay."""

    id: int
    availability: Availability
    url: str | None = Field(description="URL of the file; null if there is none.")
    state: str | int = Field(description="`replay_state` of the Game Coordinator.")
    cluster: int
    salt: int
    ended_at: int | None = Field(description="End of the match, in UTC seconds.")
    retry_after: int | None = Field(
        ge=1, description="Seconds until a file that is not available yet should be."
    )


class FormerName(ResponseModel):
    """One name of a player."""

    name_since: datetime
    name: str


class Aliases(RootModel[dict[str, list[FormerName]]]):
    """Former names by SteamID64, in Steam's order."""


class Healthy(ResponseModel):
    """The process is alive."""

    status: Literal["ok"]


class Ready(ResponseModel):
    """At least one bot is ready, or only the budget is spent."""

    status: Literal["ready"]
    ready: int = Field(ge=0, description="Number of ready bots.")
    budget: Literal["spent"] | None = Field(
        default=None,
        description="Present if it is spent: new matches are refused with 429 `quota-exhausted`.",
    )
    frees_at: int | None = Field(
        default=None, description="With `budget`: when the first budget frees, in UTC seconds."
    )
    message: str | None = Field(default=None, description="With `budget`: which budget is spent.")


class AlertSubject(ResponseModel):
    """Subject of an alert."""

    type: Literal["account", "bot"]
    name: str


class AlertOutput(ResponseModel):
    """Alert about the state of the service, as the page shows it."""

    severity: Severity = Field(
        description="outage: a cause that many bots share. act: an operator must act. "
        "watch: the service recovers by itself, or there is no harm yet. well: nothing is wrong."
    )
    kind: str = Field(
        description="Kind of alert, for programs; docs/api.md lists them.",
        examples=["steam-unreachable"],
    )
    text: str = Field(description="Explanation, for people; `{when}` stands for `when`.")
    todo: str | None = Field(description="What an operator can do.")
    when: float | None = Field(description="Instant in the text, in UTC seconds.")
    about: AlertSubject | None

    @classmethod
    def of(cls, line: Alert) -> AlertOutput:
        """Return an alert as the API shows it."""
        about = line.about and AlertSubject(type=line.about[0], name=line.about[1])
        return cls(
            severity=line.level,
            kind=line.kind,
            text=line.text,
            todo=line.todo,
            when=line.when,
            about=about,
        )


class Need(ResponseModel):
    """Operator action that an account waits for."""

    account: str
    need: str = Field(examples=["a Steam Guard code, which Steam has sent by e-mail (result 63)"])
    command: str = Field(
        description="Command to run. `reset` makes the service try again after an action elsewhere.",
        examples=["botapi accounts login axe"],
    )


class StatusOutput(ResponseModel):
    """Fleet status."""

    version: str
    instance: str = Field(description="Globally unique ID of this process.")
    config: dict[str, Any] = Field(description="Source and state of the settings.")
    log: dict[str, int] = Field(
        description="`dropped_lines`: lines that could not be written; `waiting_lines`: queued lines."
    )
    bots: dict[str, int] = Field(
        description="Number of bots (`count`), and of bots in each state, also if it is 0."
    )
    router: RouterReport
    alerts: list[AlertOutput] = Field(
        description="Problems and what to do, the most urgent first; never empty after the start."
    )
    needs: list[Need] = Field(
        description="Accounts that wait for an operator. If other machines reach the service and there "
        "are no API keys, clients without the admin token get an empty list, and null for `account` "
        "and `last_error` of each bot."
    )
    fleet: list[BotReport]


class GuardOutput(ResponseModel):
    """Progress of an interactive log-on."""

    account: str
    state: Literal["logged-on", "code-wanted"]
    need: str | None = Field(description="What Steam requires, in words.")


class AccountsOutput(ResponseModel):
    """Accounts."""

    accounts: list[AccountRow]


class AccountTouched(ResponseModel):
    """Change of an account."""

    account: str
    state: Literal["added", "removed", "released", "reset"]


class ImportProblem(ResponseModel):
    """Invalid entry of a file, or another spelling of an existing account."""

    where: str = Field(examples=["line 3"])
    problem: str


class Imported(ResponseModel):
    """Result of an import: all accounts of the file, or none."""

    imported: int
    refused: int = Field(
        description="Number of invalid entries; if there are any, nothing is imported."
    )
    problems: list[ImportProblem] = Field(description="The first hundred problems.")


class FleetOutput(ResponseModel):
    """Fleet plan: the requested state of the fleet."""

    count: int = Field(description="Number of bots in effect.")
    configured: int = Field(description="Number of bots in the settings.")
    drained: bool
    parked: list[str] = Field(description="Bots that an operator parked.")
    leaving: list[str] = Field(description="Bots that still finish their requests.")


# -- matches and profile cards -----------------------------------------------------------------------

MATCH: Final = "MatchDetails"
GC_ANSWER: Final = schema.RESPONSE
CARD: Final = schema.CARD
_INTEGER: Final[Json] = {"type": "integer"}
_LONG: Final[Json] = {"type": "string", "pattern": "^-?[0-9]+$"}
_FLOAT: Final[Json] = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
# By protobuf's JSON mapping.
_PLAIN: Final[Mapping[int, Json]] = {
    **dict.fromkeys((F.TYPE_INT32, F.TYPE_UINT32, F.TYPE_SINT32), _INTEGER),
    **dict.fromkeys((F.TYPE_FIXED32, F.TYPE_SFIXED32), _INTEGER),
    **dict.fromkeys((F.TYPE_INT64, F.TYPE_UINT64, F.TYPE_SINT64), _LONG),
    **dict.fromkeys((F.TYPE_FIXED64, F.TYPE_SFIXED64), _LONG),
    **dict.fromkeys((F.TYPE_FLOAT, F.TYPE_DOUBLE), _FLOAT),
    F.TYPE_BOOL: {"type": "boolean"},
    F.TYPE_STRING: {"type": "string"},
    F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}


def valve_components(ref: str) -> dict[str, Json]:
    """Return every message as a component; `ref` is the prefix of a reference."""
    messages = {
        name: _message(schema, fields, ref)
        for schema in (match_schema(), card_schema())
        for name, fields in schema.messages.items()
    }
    answer = messages[GC_ANSWER]
    answer["required"] = ["result", "match"]
    ours = {
        "id": {"type": "integer", "description": "The match ID."},
        "replay_url": {
            "type": ["string", "null"],
            "description": "URL of the replay file; null if there is none.",
        },
    }
    match = {
        **answer,
        "properties": {**ours, **answer["properties"]},
        "required": [*ours, *answer["required"]],
    }
    return {MATCH: match, **messages}


def _message(schema: Schema, fields: tuple[FieldSpec, ...], ref: str) -> Json:
    """Return a message's schema; all fields are optional, because the Game Coordinator may omit any."""
    return {"type": "object", "properties": {one.name: _field(schema, one, ref) for one in fields}}


def _field(schema: Schema, spec: FieldSpec, ref: str) -> Json:
    if spec.type == F.TYPE_MESSAGE:
        one: Json = {"$ref": ref + spec.refers_to}
    elif spec.type == F.TYPE_ENUM:  # a number if the schema has no name for it
        names = list(dict.fromkeys(schema.enums[spec.refers_to].values()))
        one = {"anyOf": [{"enum": names}, {"type": "integer"}]}
    else:
        one = _PLAIN[spec.type]
    return {"type": "array", "items": one} if spec.repeated else one
