"""Parses account tables: `name:password` lines, CSV, spreadsheets.

The first character after the first name is the separator of the whole file, as no name contains one. An
ambiguous line is a problem.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from actors.accounts.formats import BASE64, canonical

NAME: Final = "name"
PASSWORD: Final = "password"  # noqa: S105 - a column
SECRET: Final = "shared secret"  # noqa: S105 - as above
# Names of the columns in other programs, in lower case without spaces, `_` and `-`.
_CALLED: Final[Mapping[str, str]] = {
    NAME: "name account accountname login loginname loginusername user username steamlogin steamname",
    PASSWORD: "password pass passwd pwd pw loginpassword steampassword steampass",
    SECRET: "sharedsecret secret totp totpsecret otp otpauth otpsecret logintotp 2fa 2fasecret",
}
_ROLE: Final = {word: role for role, words in _CALLED.items() for word in words.split()}
# Other first columns of a header.
_NO_NAMES: Final = ("email", "mail", "id", "steamid", "steamid64", "title", "url", "nr", "no")
_SEPARATORS: Final = ":,;\t|"
_COLUMNS: Final = (NAME, PASSWORD, SECRET)
UNRECOGNISED: Final = (
    "expected lines name:password or name:password:shared-secret (or with , ; | or TAB instead of the "
    "colon), CSV with a header, JSON, maFiles or ASF bot files"
)
_MORE: Final = (
    "there are more values than name, password and shared secret: expected the shared secret of the "
    "authenticator as the third and last; a password that contains the separator can be imported as JSON"
)
_TOO_MANY: Final = (
    "there are more values than columns: put a value that contains the separator in quotes"
)
_SPACE: Final = (
    "the password begins or ends with a space: remove it, or import it as JSON if it belongs there"
)
_QUOTES: Final = (
    "the password stands in quotes: remove them, or import it as JSON if they belong there"
)
_MISPLACED: Final = (
    "a shared secret stands where the password should be: expected name, password, shared secret"
)


@dataclass(frozen=True, slots=True)
class Row:
    """The values of one account in a file, or `problem`: why the line cannot be parsed."""

    where: str  # e.g. "line 3"
    name: str = ""
    password: str = field(default="", repr=False)
    secret: str | None = field(default=None, repr=False)
    problem: str | None = None


def role_of(called: str) -> str | None:
    """Return the content of a column or key of that name: NAME, PASSWORD, SECRET, or None."""
    return _ROLE.get(_squeezed(called))


def rows_of(text: str) -> Iterator[Row]:
    """Yield the accounts of a delimited text in order; empty lines and comments (#) are skipped.

    Below a header whose first column is not the name, # does not begin a comment.
    """
    read = re.split(r"\r\n|\r|\n", text)
    lines = ["" if line.lstrip().startswith("#") else line for line in read]
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return
    said = re.fullmatch(r"sep=(.)\s*", lines[first])  # written by Excel
    if said:
        lines[first] = ""
        first = next((number for number, line in enumerate(lines) if line.strip()), first)
    separator = said[1] if said else _separator_of(lines[first])
    if not separator or separator not in _SEPARATORS:
        yield Row(f"line {first + 1}", problem=UNRECOGNISED)
        return
    columns: Sequence[str | None] = _COLUMNS
    header = [role_of(cell.strip().strip('"')) for cell in lines[first].split(separator)]
    skips = False
    if problem := _bad_header(lines[first].split(separator), header):
        yield Row(f"line {first + 1}", problem=problem)
        return
    if NAME in header:
        columns, skips = header, f"{separator} " in lines[first]
        lines[first] = ""
        if header[0] != NAME:  # a password may begin with #, a name cannot
            lines[first + 1 :] = read[first + 1 :]
    if separator == ":":
        yield from _colon_rows(lines, columns)
    else:
        yield from _csv_rows(lines, columns, separator, skips_space=skips)


def _separator_of(line: str) -> str:
    """Return the separator: of a header, or the first character after a name."""
    for separator in _SEPARATORS:
        cells = [cell.strip().strip('"') for cell in line.split(separator)]
        if {NAME, PASSWORD} <= {role_of(cell) for cell in cells}:
            return separator
    after = re.match(r'\s*(?:"[^"]*"|[A-Za-z0-9_.@-]+)(.)', line)
    return after[1] if after else ""


def _bad_header(cells: Sequence[str], header: Sequence[str | None]) -> str | None:
    """Return what is wrong with the first line if it is a header, or None."""
    is_header = {NAME, PASSWORD} <= set(header)
    if not is_header and (header[0] == NAME or _squeezed(cells[0].strip('"')) in _NO_NAMES):
        return "it looks like a header: expected columns called name and password"
    if is_header:
        for role in _COLUMNS:
            same = [
                cell.strip() for cell, found in zip(cells, header, strict=True) if found == role
            ]
            if len(same) > 1:
                return f"several columns can be the {role}: {', '.join(same)}; keep one"
    return None


def _colon_rows(lines: Sequence[str], columns: Sequence[str | None]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        # A key URI contains colons itself.
        text = line.rstrip()
        at = max(text.rfind(f":{scheme}://") for scheme in ("otpauth", "steam"))
        has_uri = at >= 0 and not any(map(str.isspace, text[at:]))
        cells = [*text[:at].split(":"), text[at + 1 :]] if has_uri else line.split(":")
        password = cells[1] if len(cells) > 1 else ""
        if len(password) > 1 and password[0] == password[-1] == '"':
            yield Row(f"line {number}", problem=_QUOTES)
        elif columns is _COLUMNS and cells[2:] and not cells[-1].strip():
            yield Row(f"line {number}", problem=_MORE)  # the colon may end the password
        else:
            yield _row(f"line {number}", columns, cells)


def _csv_rows(
    lines: Sequence[str], columns: Sequence[str | None], separator: str, *, skips_space: bool
) -> Iterator[Row]:
    reader = csv.reader(
        (f"{line}\n" for line in lines),
        delimiter=separator,
        skipinitialspace=skips_space,
        strict=True,
    )
    begins = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _row(f"line {begins}", columns, cells)
            begins = reader.line_num + 1
    except csv.Error as error:
        yield Row(
            f"line {begins}", problem=f"the quotes or the length of a value are wrong: {error}"
        )


def _row(where: str, columns: Sequence[str | None], cells: list[str]) -> Row:
    while len(cells) > len(columns) and not cells[-1].strip():
        cells.pop()  # of a spreadsheet
    values = dict(zip(columns, cells, strict=False))
    secret = values.get(SECRET, "").strip() or None
    if columns is not _COLUMNS and len(cells) > len(columns):
        return Row(where, problem=_TOO_MANY)
    if columns is _COLUMNS and (len(cells) > len(columns) or (secret and not canonical(secret))):
        return Row(where, problem=_MORE)
    if PASSWORD not in values:
        return Row(where, problem=f"the password is missing: {UNRECOGNISED}")
    password = values[PASSWORD]
    if password != password.strip():
        return Row(where, problem=_SPACE)
    if secret is None and re.fullmatch(BASE64, password) and columns is _COLUMNS:
        return Row(where, problem=_MISPLACED)
    return Row(where, values.get(NAME, "").strip(), password, secret)


def _squeezed(called: str) -> str:
    return re.sub(r"[\s_-]", "", called).lower()
