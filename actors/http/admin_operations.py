"""The admin API in words, as `operations` has the rest."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from actors.http.inputs import Input
from actors.http.operation import BODY, Answer, Needs, Operation
from actors.http.outputs import LoggedOn

LONGEST_CODE: Final = 10
_JSON: Final = "application/json"


class OneAccount(Input):
    """The account that is meant."""

    name: str = Field(description="An account's name.")


class GuardCode(Input):
    """What a person has read somewhere."""

    code: (
        Annotated[
            str,
            Field(strict=True, pattern=rf"^\s*[0-9A-Za-z]{{1,{LONGEST_CODE}}}\s*$"),
            AfterValidator(str.strip),
        ]
        | None
    ) = Field(None, description="A Steam Guard code, from the e-mail or the app.")


POST_GUARD: Final = Operation(
    "POST",
    "/admin/accounts/{name}/guard",
    "Log an account on by hand",
    "With a Steam Guard code, or without: then the log-on begins, and the answer says what is wanted.",
    answers={
        200: Answer("It is logged on, and its token stored.", {_JSON: LoggedOn}),
        202: Answer("A code is wanted (again).", {_JSON: LoggedOn}),
    },
    errors={
        400: ("invalid",),
        401: ("unauthorized",),
        404: ("not-found",),
        409: ("in-use", "no-password", "sealed"),
        **BODY,
        502: ("steam-refused",),
        503: ("store-unavailable",),
        504: ("timeout",),
    },
    tag="admin",
    in_path=OneAccount,
    body=GuardCode,
    body_is_required=False,
    needs=Needs.ADMIN,
)
