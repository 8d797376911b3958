"""A service over real HTTP for tests of its routes: quick bots, a budget that no test spends."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.env import ServiceEnv, service_env
from bench.service_process import Sections

QUICK: Sections = {"bots": {"min_interval": 0}}


@contextlib.contextmanager
def quick_world(
    bots: int = 2,
    *,
    matches: Path | None = None,
    settings: Sections | None = None,
    sandbox_options: tuple[str, ...] = (),
) -> Iterator[ServiceEnv]:
    """Run a service whose bots are ready and need no rest between requests."""
    laid_over = {section: dict(values) for section, values in QUICK.items()}
    for section, values in (settings or {}).items():
        laid_over.setdefault(section, {}).update(values)
    with service_env(
        bots, matches=matches, settings=laid_over, sandbox_options=sandbox_options
    ) as w:
        w.service.wait_ready(bots)
        yield w


def given_match(folder: Path, match_id: int, **match: Any) -> int:
    """Put a match for the sandbox into `folder`; it has a replay unless `match` says otherwise."""
    facts = {"match_id": str(match_id), "cluster": 153, "replay_salt": 447089001, **match}
    (folder / f"{match_id}.json").write_text(json.dumps({"result": 1, "match": facts}))
    return match_id


def wait_idle(w: ServiceEnv, within: float = 20) -> None:
    """Wait until nothing is under way for anybody."""
    until = time.monotonic() + within
    while w.service.status()["router"]["in_flight"]:
        if time.monotonic() > until:
            raise TimeoutError(f"still under way after {within} s")
        time.sleep(0.05)
