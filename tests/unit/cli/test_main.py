"""`botapi config show`: complete, valid as config.toml, and without secrets."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from supervisor.cli.main import settings_as_json as as_json
from supervisor.cli.main import settings_as_toml as as_toml
from supervisor.config.errors import without_password
from supervisor.config.load import Loaded, public_value
from supervisor.config.model import Redis, Settings

LOADED = Loaded(
    Settings(redis=Redis(url=SecretStr("redis://u:hunter2@h:6379/0"), data_dir=Path('a "b"'))),
    Path("config.toml"),
    {"redis.url": "REDISTOGO_URL"},
)


def test_the_toml_says_every_value_and_hides_the_password() -> None:
    shown = tomllib.loads(as_toml(LOADED))
    assert shown["redis"]["url"] == "redis://***@h:6379/0"
    assert shown["redis"]["data_dir"] == 'a "b"'
    assert {(section, key) for section in shown for key in shown[section]} == {
        row[:2] for row in LOADED.rows()
    }


def test_the_toml_of_the_defaults_is_accepted_again() -> None:
    text = as_toml(Loaded(Settings(), None, {}))
    assert Settings.model_validate(tomllib.loads(text)) == Settings()


def test_every_value_has_its_source_beside_it() -> None:
    lines = as_toml(LOADED).splitlines()
    assert next(line for line in lines if line.startswith("url")).endswith("# REDISTOGO_URL")
    assert next(line for line in lines if line.startswith("prefix")).endswith("# default")


def test_the_json_carries_value_and_source() -> None:
    shown = json.loads(as_json(LOADED))
    assert shown["redis"]["url"] == {"value": "redis://***@h:6379/0", "source": "REDISTOGO_URL"}
    assert shown["bots"]["count"] == {"value": 5, "source": "default"}


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (30.0, 30), (0.5, 0.5), (Path("data"), "data"), ("x", "x")]
)
def test_values_are_shown_as_people_write_them(value: object, shown: object) -> None:
    assert public_value(value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://h/0", "redis://h/0"),
        ("redis://:p@h/0", "redis://***@h/0"),
        ("redis://u:p@ss@h/0", "redis://***@h/0"),
        ("see rediss://u:p@h and redis://v:q@i", "see rediss://***@h and redis://***@i"),
        ("mail@example.org", "mail@example.org"),
    ],
)
def test_passwords_in_urls_are_hidden(text: str, shown: str) -> None:
    assert without_password(text) == shown
