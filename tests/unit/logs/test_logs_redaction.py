"""The redaction hides all secrets and no other text."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest

from actors.http.auth.api_keys import new_key
from supervisor.logs.redaction import LONGEST, redact, without_secrets

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
        "pwd",
        "pass",
        "account_pass",
        "passphrase",
        "auth_code",
        "authCode",
        "two_factor_code",
        "revocation_code",
        "private_key",
        "botapi_session",
        "Set-Cookie",
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
    assert without_secrets(f"steam-{token}") == "steam-***"
    assert without_secrets(f"of_{token}, eyJ-{token}") == "of_***, ***"


@pytest.mark.parametrize(
    "text",
    [
        f"Credential(account='axe', password='{SECRET}')",
        f'{{"shared_secret": "{SECRET}", "account": "axe"}}',
        repr({"refresh_token": SECRET}),
        repr({"guard_data": f"it's \\ {SECRET}"}),
        f"https://host/login?account=axe&password={SECRET}&to=1",
        f"API-KEY={SECRET}",
        f"https://host/login?account=axe&pwd={SECRET}&to=1",
        f"pass={SECRET} account=axe",
        f"?auth_code={SECRET}",
        f"axe: twofactorcode={SECRET}",
        f"{{'two-factor-code': '{SECRET}'}}",
        f"<Morsel: botapi_session={SECRET}; HttpOnly; Path=/>",
        f"Cookie: theme=dark; botapi_session={SECRET}",
        f"GET / HTTP/1.1\r\ncookie: anything={SECRET}\r\nX-Account: axe",
        f"Set-Cookie: {SECRET}; Path=/",
        f"Credential(account='axe', password='{SECRET} and a text that was cut",
        f'axe: password="{SECRET} \\',
        f"axe: shared_secret-token-secret={SECRET}",
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
        "it passed: 'all' of the passages=3, compass='n'",
        "session='1f00'",
        "heyJude-and.eyJ.co",
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


@pytest.mark.parametrize(
    "ending",
    [f"redis://user:{SECRET}@host", new_key(), f"password='{SECRET}'", f"pwd={SECRET}"],
    ids=["url", "key", "password", "pwd"],
)
def test_a_long_value_is_cut_and_shows_no_part_of_a_secret(ending: str) -> None:
    for length in range(LONGEST - len(ending), LONGEST):
        for value in (f"{'x' * length} {ending} {'y' * 9000}", ValueError("x" * length + ending)):
            shown = redacted(reason=value)["reason"]
            assert len(shown) < LONGEST + 40
            assert not set(parts(ending)) & set(re.findall(r"[\w-]+", shown))
            assert shown.endswith(" more characters)") or len(str(value)) <= LONGEST


def parts(secret: str) -> list[str]:
    """Return what a cut may leave of it, from four characters on."""
    key = SECRET if SECRET in secret else secret
    return [key[:length] for length in range(4, len(key) + 1)]


def test_an_exception_keeps_its_first_lines() -> None:
    shown = redacted(exception="\n".join(f"line {n} = here" for n in range(10_000)))["exception"]
    assert shown.startswith("line 0 = here\nline 1 = here\n")


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
