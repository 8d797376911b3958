"""The project's prose: plain technical English, in which the subject of a sentence is a component."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = ("actors", "supervisor", "sandbox", "bench", "tests", "docs", "deploy")
SUFFIXES = {".py", ".lua", ".md", ".toml", ".html", ".js", ".css", ".yml", ".yaml", ".json"}
# In pieces, for this file is looked through, too.
PERSONS = ("who" + "ever", "no" + "body", "some" + "body", "every" + "body")
OLD_WORDS = ("rec" + "kon", "\\ban" + "ew\\b", "err" + "and", "See the " + "module\\.")
REFUSED = re.compile("|".join((*PERSONS, *OLD_WORDS)), re.IGNORECASE)


def texts() -> Iterator[Path]:
    """Yield every file with prose; what a package manager has written is none."""
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SUFFIXES and "node_modules" not in path.parts:
                yield path


def test_no_text_names_a_person_where_a_component_acts() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate([path.name, *path.read_text("utf-8").splitlines()])
        if REFUSED.search(line)
    ]
    assert found == []
