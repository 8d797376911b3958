"""No secret passes the redaction, and nothing else is hidden by it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from actors.http.api_keys import new_key
from supervisor.logs import redact, without_secrets

SECRET = "hunter2"


def redacted(**event: Any) -> dict[str, Any]:
    return dict(redact(None, "info", event))


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "redis_password",
        "passwd",
        "token",
        "refresh_token",
        "secret",
        "shared_secret",
        "Authorization",
        "cookie",
        "api_key",
        "X-Api-Key",
        "guard_code",
        "guard_data",
        "credential",
    ],
)
def test_values_under_secret_keys_are_hidden(key: str) -> None:
    assert SECRET not in repr(redacted(**{key: SECRET}))


@pytest.mark.parametrize("text", ["{}", "no such key {}", "/match/5?key={}", "({})", "x{}"])
def test_an_api_key_is_hidden_wherever_it_stands(text: str) -> None:
    key = new_key()
    assert key not in repr(redacted(path=text.format(key)))
    assert key not in without_secrets(text.format(key))


@pytest.mark.parametrize("value", ["botapi", "botapi_seconds", 5, 0.5, None, True, "a/b.c-d_e"])
def test_plain_values_stay_as_they_are(value: object) -> None:
    assert redacted(reason=value) == {"reason": value}


@pytest.mark.parametrize(
    "value",
    [
        {"password": SECRET},
        [{"token": SECRET}],
        ({"deep": {"deeper": {"secret": SECRET}}},),
        f"redis://user:{SECRET}@host:6379/0",
        f"cannot connect to rediss://:{SECRET}@host",
        f"Authorization: Bearer {SECRET}",
        ValueError(f"redis://:{SECRET}@host is away"),
    ],
)
def test_secrets_inside_values_are_hidden(value: object) -> None:
    shown = redacted(reason=value)
    assert SECRET not in repr(shown)
    assert "***" in repr(shown)


def test_steams_tokens_are_hidden_wherever_they_stand() -> None:
    token = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJzdGVhbSJ9.c2ln-bmF0dXJl_"
    assert redacted(event=f"refused {token}!")["event"] == "refused ***!"


@pytest.mark.parametrize(
    "text",
    [
        f"Credential(account='axe', password='{SECRET}')",
        f'{{"shared_secret": "{SECRET}", "account": "axe"}}',
        repr({"refresh_token": SECRET}),
        repr({"guard_data": f"it's \\ {SECRET}"}),
        f"https://host/login?account=axe&password={SECRET}&to=1",
        f"API-KEY={SECRET}",
    ],
)
def test_values_named_as_secrets_inside_a_text_are_hidden(text: str) -> None:
    shown = without_secrets(text)
    assert SECRET not in shown
    assert "***" in shown
    assert "axe" in shown or "axe" not in text


@pytest.mark.parametrize("size", [20, 32])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_keys_and_shared_secrets_are_hidden_wherever_they_stand(
    size: int, encode: Callable[[bytes], bytes]
) -> None:
    key = encode(bytes(range(200, 200 + size))).decode()
    assert without_secrets(f"it was {key}, and '{key}'") == "it was ***, and '***'"


@pytest.mark.parametrize(
    "text",
    [
        "the lease on axe (fencing token 7) is lost",
        "Lease(account='axe', fencing_token=7, holder='us')",
        "    password = credential.password",
        "the token: it has expired",
        "a8f5f167f44f4964e6c998dee827110c",
        "sha256:" + "0" * 64,
        "/data/instances/0123456789abcdef/valkey.log",
        "x" * 100_000,
    ],
)
def test_ordinary_texts_pass_unchanged(text: str) -> None:
    assert without_secrets(text) == text


def test_bytes_and_unknown_objects_are_read_as_text() -> None:
    class Connection:
        def __repr__(self) -> str:
            return f"<Connection redis://:{SECRET}@h>"

    shown = redacted(connection=Connection(), raw=f"redis://:{SECRET}@h".encode())
    assert SECRET not in repr(shown)


def test_a_value_nested_without_end_does_not_hang() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "..." in repr(redacted(loop=loop))


def test_ordinary_values_pass_unchanged() -> None:
    event = {
        "event": "lease_acquired",
        "account": "abaddon",
        "fencing_token": 7,
        "delay_s": 0.5,
        "free": True,
        "reason": None,
        "url": "http://replay153.valve.net/570/1_2.dem.bz2",
    }
    assert redacted(**event) == event
