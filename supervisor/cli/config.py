"""`botapi config`: the settings as TOML or JSON, without secrets."""

from __future__ import annotations

import json
from itertools import groupby

from supervisor.config.load import Loaded


def as_toml(loaded: Loaded) -> str:
    """Return the settings as TOML that config.toml would accept (but for hidden passwords)."""
    blocks = []
    for section, rows in groupby(loaded.rows(), key=lambda row: row[0]):
        lines = [(f"{key} = {_toml(value)}", source) for _, key, value, source in rows]
        width = max(len(text) for text, _ in lines)
        blocks.append(
            "\n".join([f"[{section}]", *(f"{text:<{width}}  # {source}" for text, source in lines)])
        )
    return "\n\n".join(blocks)


def as_json(loaded: Loaded) -> str:
    """Return ``{section: {key: {"value": ..., "source": ...}}}``."""
    sections: dict[str, dict[str, object]] = {}
    for section, key, value, source in loaded.rows():
        sections.setdefault(section, {})[key] = {"value": value, "source": source}
    return json.dumps(sections, indent=2, ensure_ascii=False)


def _toml(value: str | float | list[str]) -> str:
    # A JSON string is a TOML basic string; numbers and lists of strings are the same in both.
    return json.dumps(value, ensure_ascii=False)
