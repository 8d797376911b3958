"""The alert rules and the dashboard, and what their queries ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
# What Grafana puts in for its variables.
GIVEN = {"$__rate_interval": "1m", "$instance": ".*", "$job": ".*"}


class Query(NamedTuple):
    """One query and where it stands."""

    where: str
    text: str


class Wanted(NamedTuple):
    """One selector: a series, and the labels that it matches by, with the values that it names."""

    name: str
    labels: dict[str, set[str]]


def rule_groups() -> list[dict[str, Any]]:
    """Return the groups of alert rules."""
    groups: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())[
        "groups"
    ]
    return groups


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [rule for group in rule_groups() for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return Grafana's dashboard."""
    whole: dict[str, Any] = json.loads((DEPLOY / "grafana/botapi.json").read_text())
    return whole


def queries() -> Iterator[Query]:
    """Yield every query there is, as Prometheus gets it."""
    for rule in rules():
        yield Query(rule["alert"], rule["expr"])
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for variable, value in GIVEN.items():
                text = text.replace(variable, value)
            yield Query(panel["title"], text)


def wanted(query: str) -> list[Wanted]:
    """Return the selectors of a query. Raises ValueError when it is none."""
    found: list[Wanted] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            labels: dict[str, set[str]] = {}
            for matcher in node.matchers.matchers:
                labels.setdefault(matcher.name, set()).update(_values(matcher))
            found.append(Wanted(str(node.name), labels))

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def _values(matcher: promql_parser.Matcher) -> set[str]:
    """Return what a matcher wants to be there; a pattern is taken for words with bars between."""
    is_word = matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.Re)
    return set(matcher.value.split("|")) if is_word and matcher.value != ".*" else set()
