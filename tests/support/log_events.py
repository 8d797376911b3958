"""All log events of the service, read from its source with `ast`: name, levels, keys."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("actors", "supervisor")
# Methods of a logger and their levels.
LEVELS: Final = {
    **{level: level for level in ("debug", "info", "warning", "error")},
    "exception": "error",
}


@dataclass
class Event:
    """One event, from all its calls."""

    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)  # the keywords of its calls
    has_more: bool = False  # keys that come by `**`


# Two events are logged by a method that is passed on or looked up by name; INDIRECT_IN has these places.
# `supervisor/logs/setup.py` writes one event without a logger.
INDIRECT: Final = {
    "request_answered": Event({"debug", "info"}, set(), has_more=True),
    "config_unchanged": Event({"debug", "info"}, set(), has_more=True),
    "log_lines_dropped": Event({"warning"}, {"lines"}),
}
INDIRECT_IN: Final = {
    "supervisor/logs/access_log.py": 1,
    "supervisor/app/reload.py": 2,
}


def logged_events() -> dict[str, Event]:
    """Return all events by name."""
    found = {name: replace(event, keys=set(event.keys)) for name, event in INDIRECT.items()}
    for path, tree in _sources():
        for function in _functions(tree):
            bound = _bound_keys(function)
            for level, call in _calls(function):
                name = call.args[0]
                assert isinstance(name, ast.Constant), f"{path}:{call.lineno}: a nameless event"
                event = found.setdefault(str(name.value), Event())
                event.levels.add(level)
                event.keys |= bound | {one.arg for one in call.keywords if one.arg} - {"exc_info"}
                event.has_more |= any(one.arg is None for one in call.keywords)
    return found


def indirect_calls() -> dict[str, int]:
    """Return how often a logger's method is passed on or looked up by name, by file."""
    found: Counter[str] = Counter()
    for path, tree in _sources():
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for function in _functions(tree):
            called |= {id(one) for pair in _choices(function).values() for one in pair}
        for node in ast.walk(tree):
            if _level(node):
                found[path] += id(node) not in called
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found[path] += node.func.id == "getattr" and _is_logger(node.args[0])
    return dict(+found)


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(), str(path))


def _functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the outermost functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        else:
            yield from _functions(node)


def _bound_keys(function: ast.AST) -> set[str]:
    """Return the keys that a function binds to its logger."""
    return {
        one.arg
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "bind" and _is_logger(node.func.value)
        for one in node.keywords
        if one.arg
    }


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    choices = _choices(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            pair = choices.get(node.func.id, ()) if isinstance(node.func, ast.Name) else ()
            for method in pair or (node.func,):
                if level := _level(method):
                    yield level, node


def _choices(tree: ast.AST) -> dict[str, tuple[ast.expr, ast.expr]]:
    """Return the variables that hold one of two methods: `write = log.info if ... else log.debug`."""
    return {
        node.targets[0].id: (node.value.body, node.value.orelse)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp)
        if isinstance(node.targets[0], ast.Name)
        if _level(node.value.body) and _level(node.value.orelse)
    }


def _level(node: ast.AST) -> str:
    """Return the level of a logger's method, or "" for anything else."""
    if isinstance(node, ast.Attribute) and node.attr in LEVELS and _is_logger(node.value):
        return LEVELS[node.attr]
    return ""


def _is_logger(node: ast.expr) -> bool:
    """Whether this is `log`, `self._log`, or `structlog.get_logger()`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_") == "log"
        case ast.Call(func=ast.Attribute(attr="get_logger")):
            return True
        case _:
            return False
