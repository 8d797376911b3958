"""The alert rules and the dashboard: well formed, and each alert with words on what to do."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from support.queries import Query, dashboard, queries, rule_groups, rules, wanted

OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
DURATION = r"\d+(ms|[smhdwy])"
PANELS = dashboard()["panels"]


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.where)
def test_every_query_is_promql_about_something_of_ours(query: Query) -> None:
    names = [one.name for one in wanted(query.text)]
    assert names
    assert all(name.startswith(("botapi_", "process_")) for name in names)


def test_what_is_no_promql_is_found() -> None:
    with pytest.raises(ValueError, match=r"."):
        wanted("sum(rate(botapi_bots[5m])")


def test_groups_are_as_prometheus_wants_them() -> None:
    groups = rule_groups()
    assert len({group["name"] for group in groups}) == len(groups)
    for group in groups:
        assert group.keys() == {"name", "rules"}
        assert group["rules"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_rule_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Botapi[A-Z][A-Za-z]+", rule["alert"])
    assert re.fullmatch(DURATION, rule.get("for", "1m"))
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    for variable in re.findall(r"{{ *(\S+) *}}", rule["annotations"]["summary"]):
        assert re.fullmatch(r"\$value|\$labels\.[a-z]+", variable)
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert file == "docs/operations.md"
    assert anchor == rule["alert"].lower()
    section = re.search(
        rf"^### {rule['alert']}\n\n(.+?)(?=^#|\Z)", OPERATIONS, re.MULTILINE | re.DOTALL
    )
    assert section is not None, f"docs/operations.md does not say what to do about {rule['alert']}"


def test_every_alert_that_is_explained_exists_once() -> None:
    explained = re.findall(r"^### (Botapi\w+)$", OPERATIONS, re.MULTILINE)
    assert sorted(explained) == sorted(rule["alert"] for rule in rules())


def test_the_dashboard_is_as_grafana_wants_it() -> None:
    whole = dashboard()
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= whole.keys()
    assert "id" not in whole  # it is the importing Grafana's to give
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    variables = [one["name"] for one in whole["templating"]["list"]]
    assert variables == ["datasource", "job", "instance"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_asks_the_chosen_source(panel: dict[str, Any]) -> None:
    if panel["type"] == "row":
        return
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["legendFormat"]
        assert set(re.findall(r"\$\w+", target["expr"])) <= {
            "$instance",
            "$job",
            "$__rate_interval",
        }


def test_no_panel_lies_on_another_or_sticks_out() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
