"""docs/operations.md lists every event of the log as the code has it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.log_events import INDIRECT, INDIRECT_IN, ROOT, Event, indirect_calls, logged_events

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ROW = re.compile(r"^\| `([a-z_]+)` \| ([a-z, ]+) \| ([^|]*) \| [^|]+ \|$", re.MULTILINE)
LISTED = {
    name: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", keys)))
    for name, levels, keys in ROW.findall(OPERATIONS.partition("### Events")[2])
}
LOGGED = logged_events()


def _bound_somewhere() -> set[str]:
    return {
        keyword.arg
        for package in ("actors", "supervisor")
        for path in Path(ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "bind"
        for keyword in node.keywords
        if keyword.arg
    }


# What a line may have besides: a key that some logger is bound with, or that stands in another line.
KNOWN_KEYS = _bound_somewhere().union(
    {"player", "players"}, *(event.keys for event in LOGGED.values())
)


def test_events_are_listed_once_each() -> None:
    rows = [row[0] for row in ROW.findall(OPERATIONS.partition("### Events")[2])]
    assert len(rows) == len(set(rows))
    assert set(rows) == LOGGED.keys()


@pytest.mark.parametrize(("name", "event"), LOGGED.items(), ids=list(LOGGED))
def test_an_event_is_listed_with_its_levels_and_keys(name: str, event: Event) -> None:
    levels, keys = LISTED[name]
    assert levels == event.levels
    assert event.keys <= keys
    if not event.has_more:
        assert keys - event.keys <= KNOWN_KEYS


@pytest.mark.parametrize("name", LOGGED)
def test_events_have_names_of_one_form(name: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)


def test_what_is_logged_by_roundabout_ways_is_known() -> None:
    assert indirect_calls() == INDIRECT_IN
    source = "".join(
        (ROOT / file).read_text() for file in (*INDIRECT_IN, "supervisor/logs/setup.py")
    )
    assert all(f'"{name}"' in source for name in INDIRECT)


def test_every_metric_is_in_a_table_once() -> None:
    rows = re.findall(r"^\| `(botapi_\w+)` \|", OPERATIONS, re.MULTILINE)
    assert len(rows) == len(set(rows)) > 30


def test_the_contents_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", OPERATIONS)
    assert links
    assert set(links) <= anchors
    files = re.findall(r"\]\((?!https?:|#)([^)#]+)", OPERATIONS)
    assert all((ROOT / "docs" / file).exists() for file in files)
