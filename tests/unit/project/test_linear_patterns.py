"""Every regular expression of the project takes linear time, whatever text it is given."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

import actors
import sandbox
import supervisor
from actors.errors import InvalidRequest
from actors.http.openapi.inputs import TIMEOUT
from supervisor.logs.redaction import redact, without_secrets

LENGTH = 24_000  # characters: linear time is some milliseconds, quadratic time is seconds
MOST_S = 0.25  # of processor time

# What the patterns begin with, go on with or end with; a quadratic one needs many of one or two of these.
PIECES = [
    *("token", "token=", "token =", "token:", 'token="', "token='", 'token"', "-token", "_pwd", "pass"),
    *("eyJ", "-eyJ", "eyJaaaa", "-eyJaaaa", "eyJaaaa.", ".eyJaaaa.b"),
    *("bearer", "bearer ", "basic  ", "cookie:", "Cookie: ", "set-cookie: a"),
    *("://", "://a", "://a@", "@", "botapi_", "botapi_session=", "A" * 27, "A" * 43),
    *(" ", "\n", "\t", "\\", '"', "'", '\\"', "=", ":", "/", ".", ",", "-", "_", "a", "0", "%", "é"),
]  # fmt: skip
SEPARATORS = [" ", '"', "'", "=", ":", "-", "a", "\\", "token", "eyJ"]
ENDS = ["", "!", "=", "\n", "=/release", '"', "@", "."]


def processor_time(act: Callable[..., object], *arguments: object) -> float:
    begun = time.thread_time()
    act(*arguments)
    return time.thread_time() - begun


def pumped(*pieces: str) -> str:
    one = "".join(pieces)
    return one * (LENGTH // len(one))


def modules() -> Iterator[ModuleType]:
    for package in (actors, sandbox, supervisor):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def patterns() -> dict[str, re.Pattern[str]]:
    return {
        f"{module.__name__}.{name}": value
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
    }


PATTERNS = patterns()


def test_the_patterns_are_found() -> None:
    assert {
        "actors.http.openapi.inputs._NUMBER",
        "supervisor.logs.redaction._NAMED",
    } <= PATTERNS.keys()


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_that_reads_a_whole_text_is_linear(name: str) -> None:
    pattern = PATTERNS[name]
    for piece, end in itertools.product(PIECES, ENDS):
        text = pumped(piece) + end
        assert processor_time(pattern.fullmatch, text) < MOST_S, (piece, end)


@pytest.mark.parametrize("first", PIECES)
def test_secrets_are_looked_for_in_linear_time(first: str) -> None:
    for second in ("", *SEPARATORS):
        text = pumped(first, second)
        assert processor_time(without_secrets, text) < MOST_S, second


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("piece", PIECES)
def test_the_end_of_a_text_makes_no_difference(piece: str, end: str) -> None:
    text = pumped(piece) + end
    assert processor_time(without_secrets, text) < MOST_S


@pytest.mark.parametrize("piece", PIECES)
def test_a_logged_value_costs_no_more_than_its_first_part(piece: str) -> None:
    value = piece * (4_000_000 // len(piece))
    event = {"event": value, "nested": [{"path": value}], "error": ValueError(value)}
    assert processor_time(redact, None, "info", event) < MOST_S


def test_a_time_limit_of_many_digits_is_refused_at_once() -> None:
    def read() -> None:
        with pytest.raises(InvalidRequest, match="X-Request-Timeout"):
            TIMEOUT.parse("1" * 8100 + "x")

    assert processor_time(read) < MOST_S
