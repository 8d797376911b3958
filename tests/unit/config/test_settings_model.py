"""Ranges, secrets and cross-field rules of the settings."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from supervisor.config.model import (
    LIVE_DIRECTORY_URL,
    LOGOFF_S,
    SAFETY_MARGIN_S,
    Bots,
    Http,
    Quota,
    Redis,
    RestartSection,
    Settings,
    Steam,
    fields,
)


def test_the_defaults_are_valid_and_keep_every_relation() -> None:
    assert Settings() == Settings.model_validate(Settings().model_dump())


def test_every_number_has_a_range() -> None:
    for section, key, field in fields():
        if field.annotation in {int, float}:
            names = {type(mark).__name__ for mark in field.metadata}
            assert {"Ge", "Le"} <= names, f"{section}.{key}"


def test_every_default_is_of_its_fields_type() -> None:
    for section, key, field in fields():
        if field.annotation in {int, float}:
            value = getattr(getattr(Settings(), section), key)
            assert type(value) is field.annotation, f"{section}.{key}"


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.bots.count = 3  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValidationError, match="frozen"):
        settings.bots = Bots(count=3)  # type: ignore[misc]  # as above


def test_a_redis_password_is_in_no_repr() -> None:
    settings = Settings(redis=Redis(url=SecretStr("redis://u:hunter2@h:6379/0")))
    assert "hunter2" not in repr(settings) + str(settings) + repr(settings.redis.url)
    assert settings.redis.url.get_secret_value() == "redis://u:hunter2@h:6379/0"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([], ()),
        ("", ()),
        ("a.example, B.Example.,", ("a.example", "b.example")),
        (["botapi", "my_host-1.lan", "192.0.2.1"], ("botapi", "my_host-1.lan", "192.0.2.1")),
        (["[2001:DB8:0::1]", "::1"], ("2001:db8::1", "::1")),
    ],
)
def test_names_of_the_service_are_kept_as_they_are_compared(
    value: object, names: tuple[str, ...]
) -> None:
    assert Http.model_validate({"allowed_hosts": value}).allowed_hosts == names


@pytest.mark.parametrize(
    "value", [["a:5000"], ["http://a"], ["*"], [".a"], ["a..b"], ["a b"], ["[::1"], 7, [7], "[::g]"]
)
def test_what_is_no_name_of_a_host_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Http.model_validate({"allowed_hosts": value})


@pytest.mark.parametrize(
    "url", ["embedded", "redis://h", "rediss://:p@h:6380/1", "unix:///run/valkey.sock"]
)
def test_redis_urls_that_can_be_used(url: str) -> None:
    assert Redis(url=SecretStr(url)).is_embedded is (url == "embedded")


@pytest.mark.parametrize(
    "url",
    ["", "h:6379", "http://h", "redis://", "redis:///0", "redis://h:x", "redis://[::1", "unix:"],
)
def test_redis_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValidationError):
        Redis(url=SecretStr(url))


@pytest.mark.parametrize("prefix", ["", "a b", "x" * 65, "botapi*", "botäpi"])
def test_prefixes_that_would_confuse_keys(prefix: str) -> None:
    with pytest.raises(ValidationError):
        Redis(prefix=prefix)


@pytest.mark.parametrize(
    ("steam", "url"),
    [
        (Steam(), LIVE_DIRECTORY_URL),
        (Steam(network="sandbox"), None),
        (Steam(directory_url="http://127.0.0.1:9/"), "http://127.0.0.1:9"),
        (Steam(network="sandbox", directory_url="http://127.0.0.1:9"), "http://127.0.0.1:9"),
    ],
)
def test_the_directory_that_a_network_means(steam: Steam, url: str | None) -> None:
    assert steam.effective_directory_url == url


@pytest.mark.parametrize("url", ["ftp://h", "localhost:80", "https://", "http://[::1"])
def test_directory_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValidationError):
        Steam(directory_url=url)


SHORTEST_LEASE = (LOGOFF_S + SAFETY_MARGIN_S) * 1.5  # a renewal leaves two thirds of it


def test_a_lease_must_outlast_a_renewal_the_logoff_and_the_margin() -> None:
    Settings(bots=Bots(lease_seconds=SHORTEST_LEASE + 0.1))
    with pytest.raises(ValidationError, match=r"lease_seconds \(12\) must be more than 12"):
        Settings(bots=Bots(lease_seconds=SHORTEST_LEASE))


def test_a_request_may_not_outlast_its_deadline() -> None:
    Settings(bots=Bots(request_timeout=7), http=Http(deadline=7))
    with pytest.raises(ValidationError, match=r"request_timeout \(8\).*http.deadline \(7\)"):
        Settings(bots=Bots(request_timeout=8), http=Http(deadline=7))


def test_backoff_ceilings_double_up_to_the_maximum() -> None:
    with pytest.raises(ValidationError, match="must be more than 17,"):  # 1 + 2 + 4 + 5 + 5
        Settings(restart=RestartSection(backoff_min=1, backoff_max=5, intensity=5, period=17))
    Settings(restart=RestartSection(backoff_min=1, backoff_max=5, intensity=5, period=17.1))


def test_backoff_must_be_a_range() -> None:
    with pytest.raises(ValidationError, match=r"backoff_min \(9\).*backoff_max \(3\)"):
        Settings(restart=RestartSection(backoff_min=9, backoff_max=3))


def test_an_intensity_that_the_backoff_never_reaches_is_refused() -> None:
    Settings(restart=RestartSection(backoff_min=1, backoff_max=60, intensity=3, period=7.1))
    with pytest.raises(ValidationError, match=r"period \(7\) must be more than 7.*3 restarts"):
        Settings(restart=RestartSection(backoff_min=1, backoff_max=60, intensity=3, period=7))


def test_a_universe_key_belongs_to_a_named_network() -> None:
    named = {"universe_key_file": "key.pem", "directory_url": "http://h"}
    Settings.model_validate({"steam": named})
    with pytest.raises(ValidationError, match="directory_url"):
        Settings.model_validate({"steam": {"universe_key_file": "key.pem"}})


def test_the_number_five_is_not_the_text_five() -> None:
    with pytest.raises(ValidationError):
        Quota(per_account="5")  # type: ignore[arg-type]  # the point of the test
