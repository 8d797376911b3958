"""Response types.

The match itself is not here: its shape is Valve's schema (see `match_schema`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from actors.accounts.admin import AccountRow
from actors.bot.messages import BotReport
from actors.dashboard.alerts import Alert, Severity
from actors.replays.availability import Availability
from actors.router.messages import RouterReport

RETRIEVER_STEAM_ID: Final = (
    "x-match-request-steamid"  # of the account that asked the GC, not its name
)
RETRIEVER_IP: Final = "x-match-request-ip"
RETRIEVER_NO_RETRY: Final = "x-match-noretry"
RETRIEVER_REASON: Final = "x-noretry-reason"


class Output(BaseModel):
    """One JSON object."""

    model_config = ConfigDict(frozen=True)


class Error(Output):
    """Why there is no data, and when asking again makes sense."""

    error: str = Field(description="A word for programs.")
    message: str = Field(description="A sentence for people.")
    retry_after: int | None = Field(
        ge=1, description="Whole seconds; the header Retry-After says the same."
    )


class Replay(Output):
    """What is known of a match's replay."""

    id: int
    availability: Availability
    url: str | None = Field(description="Of the file; null where there is none.")
    state: str | int = Field(description="replay_state, as the Game Coordinator has it.")
    cluster: int
    salt: int
    ended_at: int | None = Field(description="When the match ended, in UTC seconds.")
    retry_after: int | None = Field(
        ge=1, description="Seconds until a file that is not yet available is."
    )


class FormerName(Output):
    """One name of a player."""

    name_since: datetime
    name: str


class Aliases(RootModel[dict[str, list[FormerName]]]):
    """SteamID64 to former names, in Steam's order."""


class Healthy(Output):
    """The process is well."""

    status: Literal["ok"]


class Ready(Output):
    """New matches can be asked for, or only the budget is spent."""

    status: Literal["ready"]
    ready: int = Field(ge=0, description="How many bots may be asked.")
    budget: Literal["spent"] | None = Field(
        default=None,
        description="Only where it is spent: new matches are refused with 429 `quota-exhausted`.",
    )
    frees_at: int | None = Field(
        default=None, description="With it: when the first of what is spent frees, in UTC seconds."
    )
    message: str | None = Field(default=None, description="With it: whose budget is spent.")


class AlertSubject(Output):
    """What an alert is about."""

    type: Literal["account", "bot"]
    name: str


class AlertOutput(Output):
    """One line on the state of the service, as the page shows it."""

    severity: Severity = Field(
        description="outage: a cause that many bots share. act: a person has to do something. "
        "watch: the service recovers by itself, or harm comes later. well: nothing is wrong."
    )
    kind: str = Field(
        description="A word for programs; docs/api.md lists them.", examples=["steam-unreachable"]
    )
    text: str = Field(description="A sentence for people; `{when}` in it stands for `when`.")
    todo: str | None = Field(description="What a person does about it.")
    when: float | None = Field(description="The instant that the text names, in UTC seconds.")
    about: AlertSubject | None

    @classmethod
    def of(cls, line: Alert) -> AlertOutput:
        """Return a line of the page as the API shows it."""
        about = None
        if line.about is not None:
            about = AlertSubject(type=line.about[0], name=line.about[1])
        return cls(
            severity=line.level,
            kind=line.kind,
            text=line.text,
            todo=line.todo,
            when=line.when,
            about=about,
        )


class Need(Output):
    """What an account waits for that only a person can give it."""

    account: str
    need: str = Field(examples=["a Steam Guard code, which Steam has sent by e-mail (result 63)"])
    command: str = Field(
        description="What to type; after what is done elsewhere, `reset` has it tried again.",
        examples=["botapi accounts login axe"],
    )


class StatusOutput(Output):
    """The fleet."""

    version: str
    instance: str = Field(description="This process, unique in the world.")
    config: dict[str, Any] = Field(description="Where the settings come from, and how they are.")
    log: dict[str, int] = Field(
        description="`dropped_lines`: could not be written; `waiting_lines`: are not written yet."
    )
    bots: dict[str, int] = Field(
        description="How many there are (`count`), and how many in each state, also where it is none."
    )
    router: RouterReport
    alerts: list[AlertOutput] = Field(
        description="What is wrong and what to do, the most urgent first; never empty once started."
    )
    needs: list[Need] = Field(
        description="Every account that waits for a person. Empty, as `account` and `last_error` of each "
        "bot are null, for who shows no admin token where others than this machine reach the service "
        "and there are no API keys."
    )
    fleet: list[BotReport]


class GuardOutput(Output):
    """How far a log-on by hand has come."""

    account: str
    state: Literal["logged-on", "code-wanted"]
    need: str | None = Field(description="What is wanted, in words.")


class AccountsOutput(Output):
    """All accounts."""

    accounts: list[AccountRow]


class AccountTouched(Output):
    """What was done to an account."""

    account: str
    state: Literal["added", "removed", "released", "reset"]


class ImportProblem(Output):
    """Something in a file that cannot be used, or a second spelling of an account that exists."""

    where: str = Field(examples=["line 3"])
    problem: str


class Imported(Output):
    """What became of a file of accounts: all are imported, or none."""

    imported: int
    refused: int = Field(description="Entries that cannot be used; nothing is imported then.")
    problems: list[ImportProblem] = Field(description="The first hundred.")


class FleetOutput(Output):
    """What the fleet is meant to be."""

    count: int = Field(description="Bots that there shall be.")
    configured: int = Field(description="Bots that the settings say.")
    drained: bool
    parked: list[str] = Field(description="Bots that a person parked.")
    leaving: list[str] = Field(description="Bots that still finish what they have under way.")
