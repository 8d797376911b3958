"""ConfigError, and its messages for pydantic's errors."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from supervisor.config.model import RELATION, Wanted, fields, sections

MAX_SHOWN: Final = 60  # characters of a refused value in a message
_KINDS: Final[dict[Any, str]] = {int: "a whole number", float: "a number"}
_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_PASSWORD_IN_QUERY: Final = re.compile(r"(?<=[?&])((?:ssl_)?password=)[^&#\s]*")


class ConfigError(Exception):
    """The settings are invalid; the text is one line.

    Attributes:
        source: the location of the mistake: a file, an environment variable, or both.
        key: the dotted key, or None if the file itself is wrong.
        problem: the text without the source.
    """

    def __init__(self, source: str, problem: str, *, key: str | None = None) -> None:
        self.source = source
        self.key = key
        self.problem = problem
        super().__init__(f"{source}: {problem}" if source else problem)


def without_password(text: str) -> str:
    """Return `text` with the user and password of any URL in it replaced by ``***``."""
    return _PASSWORD_IN_QUERY.sub(r"\1***", _PASSWORD_IN_URL.sub("***@", text))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`, or None."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def from_pydantic(error: ErrorDetails, source_of: Mapping[str, str], fallback: str) -> ConfigError:
    """Return the ConfigError for one of pydantic's errors.

    Args:
        error: pydantic's error.
        source_of: the source of each dotted key that is set, for example ``"config.toml"``.
        fallback: the source for other errors.
    """
    if error["type"] == RELATION:
        keys: tuple[str, ...] = error["ctx"]["keys"]
        found = dict.fromkeys(source_of[key] for key in keys if key in source_of)
        return ConfigError(", ".join(found) or fallback, error["msg"], key=keys[0])
    path = tuple(str(part) for part in error["loc"])
    key = ".".join(path[:2])
    if error["type"] == "extra_forbidden":
        return ConfigError(fallback, _unknown(path, error["input"]), key=key)
    if len(path) == 1:
        return ConfigError(fallback, f"{key} must be a section: [{key}]", key=key)
    field = sections()[path[0]].model_fields[path[1]]
    return ConfigError(
        source_of.get(key, fallback), f"{key} must be {_wanted(field, error['input'])}", key=key
    )


def _unknown(path: tuple[str, ...], value: object) -> str:
    name = path[-1]
    if len(path) > 1:
        own = sections()[path[0]].model_fields
        homes = [f"{section}.{key}" for section, key, _ in fields() if key == name]
        if close := nearest(name, own):
            homes = [f"{path[0]}.{close}"]
        hint = f"did you mean {homes[0]}?" if homes else f"[{path[0]}] has {', '.join(own)}"
        return f"unknown key {'.'.join(path)}; {hint}"
    if isinstance(value, dict):
        close = nearest(name, sections())
        known = ", ".join(f"[{section}]" for section in sections())
        hint = f"did you mean [{close}]?" if close else f"the sections are {known}"
        return f"unknown section [{name}]; {hint}"
    homes = [f"{section}.{key}" for section, key, _ in fields() if nearest(name, [key])]
    hint = f"; did you mean {homes[0]}?" if homes else ""
    return f"{name} is outside of any section{hint}"


def _wanted(field: FieldInfo, value: object) -> str:
    wanted = next((mark for mark in field.metadata if isinstance(mark, Wanted)), None)
    if get_origin(field.annotation) is Literal:
        text = "one of " + ", ".join(json.dumps(choice) for choice in get_args(field.annotation))
    else:
        text = wanted.text if wanted else _KINDS.get(field.annotation, "a text")
        low = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
        high = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
        text = text if low is None else f"{text} from {low} to {high}"
    if wanted is not None and wanted.secret:
        return text
    shown = without_password(json.dumps(value, default=str, ensure_ascii=False))
    return f"{text}, not {shown if len(shown) <= MAX_SHOWN else f'{shown[:MAX_SHOWN]}...'}"
