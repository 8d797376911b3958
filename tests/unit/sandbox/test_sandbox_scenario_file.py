"""Scenario files: TOML becomes steps with pauses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.control.scenario import ScenarioError, read_file


def steps(tmp_path: Path, text: str) -> list[dict[str, object]]:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return [dict(step) for step in read_file(path)]


def test_times_become_pauses_in_order(tmp_path: Path) -> None:
    text = """
    [[at]]
    s = 8
    clear = {}
    [[at]]
    s = 5
    drop = { fraction = 0.3 }
    faults = { gc_down = true }
    """
    assert steps(tmp_path, text) == [
        {"after_s": 5, "drop": {"fraction": 0.3}, "faults": {"gc_down": True}},
        {"after_s": 3, "clear": {}},
    ]


def test_maintenance_is_the_scenario_tuesday_at_its_time(tmp_path: Path) -> None:
    text = """
    [[at]]
    s = 10
    maintenance = { gc_first_s = 1, down_s = 60 }
    [[at]]
    s = 30
    drop = { all = true }
    """
    found = steps(tmp_path, text)
    assert [step["after_s"] for step in found] == [10.0, 1.0, 19.0, 41.0, 30.0]
    assert found[0]["faults"] == {"gc_down": "going_down"}
    assert found[2] == {"after_s": 19.0, "drop": {"all": True}}
    assert found[4]["clear"] == {"names": ["gc_down", "logon_eresult"]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no \\[\\[at\\]\\]"),
        ("at = 5", "no \\[\\[at\\]\\]"),
        ("[[at]]\ndrop = { all = true }", "needs its time"),
        ('[[at]]\ns = "soon"', "needs its time"),
        ("[[at]]\ns = -1", "needs its time"),
        ("[[at]]\ns = 1\nmaintenance = 60", "is a table of"),
        ("[[at]]\ns = 1\nmaintenance = { days = 1 }", "is a table of"),
        ('[[at]]\ns = 1\nmaintenance = { down_s = "long" }', "are seconds"),
        ("[[at]", "scenario.toml"),
    ],
)
def test_an_invalid_file_is_refused_with_the_reason(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        steps(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="nowhere"):
        read_file(tmp_path / "nowhere.toml")
