"""The size of the tree: small folders, small files, and one meaning for each class name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
HALVES = ("actors", "supervisor")
LONGEST_FILE = 400
MOST_ENTRIES = {"supervisor/cli": 18}  # a file for each group of commands
MOST_ELSEWHERE = 16


def modules() -> list[Path]:
    return [
        path
        for half in HALVES
        for path in sorted((ROOT / half).rglob("*.py"))
        if path.name != "__init__.py"
    ]


def entries(folder: Path) -> list[str]:
    """Return the modules and packages in a folder."""
    return [
        path.name
        for path in folder.iterdir()
        if path.name not in ("__init__.py", "__pycache__")
        and (path.suffix == ".py" or path.is_dir())
    ]


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules()}
    assert {str(path): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_folder_has_too_many_entries() -> None:
    folders = {path.parent for path in modules()}
    counts = {str(folder.relative_to(ROOT)): len(entries(folder)) for folder in folders}
    limits = {folder: MOST_ENTRIES.get(folder, MOST_ELSEWHERE) for folder in counts}
    assert {folder: n for folder, n in counts.items() if n > limits[folder]} == {}


def test_a_class_name_stands_for_one_thing() -> None:
    found = defaultdict(set)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].add(str(path.relative_to(ROOT)))
    assert {name: sorted(files) for name, files in found.items() if len(files) > 1} == {}
