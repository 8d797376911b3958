"""Which settings apply at once and which need a restart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from supervisor.config.live_changes import AT_ONCE, change
from supervisor.config.model import Settings, fields

KEYS = [f"{section}.{key}" for section, key, _ in fields()]
CONFIG = Path(__file__).parents[3] / "config.toml"


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections, strict=False)


def test_nothing_changed_is_no_change() -> None:
    same = change(settings(), settings(bots={"count": 5}))
    assert (same.applied, same.needs_restart, same.effective) == ((), (), settings())


def test_what_can_be_applied_is_in_effect_and_the_rest_waits() -> None:
    running = settings(bots={"count": 3})
    wanted = settings(
        bots={"count": 7, "lease_seconds": 90}, http={"port": 1}, quota={"per_account": 5}
    )
    found = change(running, wanted)
    assert found.applied == ("bots.count", "quota.per_account")
    assert found.needs_restart == ("bots.lease_seconds", "http.port")
    assert found.effective == settings(bots={"count": 7}, quota={"per_account": 5})


def test_taking_an_edit_back_leaves_nothing_to_restart_for() -> None:
    first = change(settings(), settings(http={"port": 1}))
    assert first.needs_restart == ("http.port",)
    assert change(first.effective, settings()).needs_restart == ()


def test_every_key_named_exists() -> None:
    assert set(KEYS) >= AT_ONCE


def test_values_that_a_secret_hides_are_compared_too() -> None:
    one, other = (settings(redis={"url": f"redis://:{word}@h/0"}) for word in ("a", "b"))
    assert change(one, other).needs_restart == ("redis.url",)


def test_config_toml_says_what_needs_a_restart() -> None:
    said = set()
    section = ""
    restart = False
    for line in CONFIG.read_text().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section, restart = header[1], False
        elif line.startswith("#"):
            restart = restart or "Needs a restart." in line
        elif assignment := re.match(r"(\w+) = ", line):
            if restart:
                said.add(f"{section}.{assignment[1]}")
            restart = False
    assert said == set(KEYS) - AT_ONCE


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "bots": st.fixed_dictionaries(
            {},
            optional={
                "lease_seconds": st.sampled_from([13, 60, 600]),
                "request_timeout": st.sampled_from([0.5, 5, 20, 60]),
            },
        ),
        "http": st.fixed_dictionaries({}, optional={"deadline": st.sampled_from([1, 15, 60])}),
        "restart": st.fixed_dictionaries(
            {},
            optional={
                "backoff_min": st.sampled_from([0.1, 1, 50]),
                "backoff_max": st.sampled_from([1, 60, 100]),
                "intensity": st.sampled_from([1, 10, 100]),
                "period": st.sampled_from([100, 600, 6000]),
            },
        ),
        "steam": st.fixed_dictionaries(
            {},
            optional={
                "directory_url": st.sampled_from(["", "http://h"]),
                "universe_key_file": st.sampled_from(["", "k.pem"]),
            },
        ),
    },
)


def valid(values: dict[str, Any]) -> Settings | None:
    try:
        return settings(**values)
    except ValidationError:
        return None


@given(VALUES, VALUES)
def test_what_is_in_effect_after_a_change_keeps_every_rule(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    running, wanted = valid(before), valid(after)
    if running is None or wanted is None:
        return
    effective = change(running, wanted).effective
    assert Settings.model_validate(effective.model_dump(), strict=False) == effective


@given(VALUES, VALUES)
def test_a_change_reaches_its_end_and_stays_there(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    running, wanted = valid(before), valid(after)
    if running is None or wanted is None:
        return
    once = change(running, wanted)
    again = change(once.effective, wanted)
    assert again.applied == ()
    assert again.needs_restart == once.needs_restart


@pytest.mark.parametrize("key", sorted(AT_ONCE))
def test_a_key_that_holds_at_once_is_never_among_those_that_wait(key: str) -> None:
    section, _, name = key.partition(".")
    other = {
        "quota.window": "utc-day",
        "log.level": "debug",
        "logon.per_minute": 7,
        "http.trusted_proxies": ("10.0.0.0/8",),
        "http.allowed_hosts": ("botapi.example",),
    }.get(key)
    running = settings()
    value = getattr(getattr(running, section), name)
    wanted = running.model_copy(
        update={section: getattr(running, section).model_copy(update={name: other or value + 1})}
    )
    found = change(running, wanted)
    assert found.applied == (key,)
    assert found.needs_restart == ()
    assert found.effective == wanted
