"""A Steam Guard code arrives while the service runs: the bot continues without a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.command import botapi

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration

TOKEN = "an admin token of some length"
MAIL = {"name": "mail", "password": "pw-mail", "email_code": "R2D2X"}
PATH = "/admin/accounts/mail/guard"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture
def w(token_file: Path) -> Iterator[ServiceEnv]:
    settings = {"http": {"admin_token_file": str(token_file)}}
    with service_env(2, accounts=[MAIL, *simple_accounts(1)], settings=settings) as running:
        yield running


async def post(
    w: ServiceEnv, path: str = PATH, body: Any = None, token: str | None = TOKEN
) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(w.service.url + path, json=body) as answer,
    ):
        return answer.status, await answer.json()


async def account(w: ServiceEnv, name: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.get(f"{w.service.url}/admin/accounts") as answer,
    ):
        rows = {row["account"]: row for row in (await answer.json())["accounts"]}
    return dict(rows[name])


def needs(w: ServiceEnv) -> list[dict[str, str]]:
    """Return the needs on /status, once they differ from what Redis said some seconds ago."""
    expected, until = w.service.status()["router"]["ready"] < 2, time.monotonic() + 10
    while bool(found := w.service.status()["needs"]) is not expected and time.monotonic() < until:
        time.sleep(0.1)
    return found  # type: ignore[no-any-return] # JSON is Any


async def test_a_code_is_asked_for_once_brought_and_the_bot_goes_on(
    w: ServiceEnv, tmp_path: Path
) -> None:
    need = w.service.wait_log("account_needs_human", 10)
    assert need["account"] == "mail"
    assert "e-mail" in need["need"]
    w.service.wait_ready(1)  # other accounts take its place
    (told,) = needs(w)
    assert told["command"] == "botapi accounts login mail"
    said = await asyncio.to_thread(
        botapi, "status", cwd=tmp_path, env={"BOTAPI_URL": w.service.url}
    )
    assert f"The account mail needs {told['need']}. Type: {told['command']}" in said.out

    assert len(await w.sandbox.mailbox("mail")) == 1
    row = await account(w, "mail")  # no other bot tries it, ever, and mails another code
    assert row["cooldown_s"] is None
    assert row["cooldown_reason"].startswith("needs a Steam Guard code")

    # The mail that the bot has caused is about an earlier log-on; this one sends another.
    status, answer = await post(w, body={"code": MAIL["email_code"]})
    assert (status, answer["state"]) == (202, "code-wanted")
    assert answer["need"].startswith("that code is of an earlier log-on; ")
    assert "e-mail" in answer["need"]
    first, second = [mail["code"] for mail in await w.sandbox.mailbox("mail")]
    assert first == MAIL["email_code"]
    status, answer = await post(w, body={"code": "WRONG"})
    assert status == 202
    assert answer["need"].startswith("that code was wrong")
    as_typed = f" {second[:2].lower()} {second[2:].lower()}"
    status, answer = await post(w, body={"code": as_typed})
    assert (status, answer) == (200, {"account": "mail", "state": "logged-on", "need": None})

    w.service.wait_ready(2, within=20)
    assert needs(w) == []
    assert len(list(w.service.events("account_needs_human"))) == 1
    logons = await w.sandbox.journal("token_logon")
    assert [one["account"] for one in logons].count("mail") == 2  # by hand, and then the bot
    assert len(await w.sandbox.journal("credential_logon")) == 2
    assert len(await w.sandbox.mailbox("mail")) == 2
    assert not any(code in w.service.log for code in (first, second, as_typed))


async def test_only_who_shows_the_token_gets_in(w: ServiceEnv) -> None:
    for token in (None, "", "another token of the same length", TOKEN[:-1]):
        status, answer = await post(w, token=token)
        assert (status, answer["error"]) == (401, "unauthorized")
    assert TOKEN not in w.service.log


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/admin/accounts/unknown/guard", None, 404, "not-found"),
        ("/admin/accounts/bot0000/guard", None, 409, "in-use"),
        (PATH, {"code": 5}, 400, "invalid"),
        (PATH, {"code": ""}, 400, "invalid"),
        (PATH, {"code": "  "}, 400, "invalid"),
        (PATH, {"code": "much too long to be a code"}, 400, "invalid"),
        (PATH, ["code"], 400, "invalid"),
        ("/admin/nothing", None, 404, "not-found"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_word(
    w: ServiceEnv, path: str, body: Any, status: int, word: str
) -> None:
    w.service.wait_ready(1)
    got, answer = await post(w, path, body)
    assert (got, answer["error"]) == (status, word)


def made_token(file: str) -> str:
    return Path(file).read_text().strip()


async def test_without_a_token_file_the_service_makes_a_token_on_loopback() -> None:
    with service_env(1, accounts=simple_accounts(1)) as w:
        path = "/admin/accounts/bot0000/guard"
        w.service.wait_ready(1)
        assert (await post(w, path, token=None))[0] == 401
        made = w.service.wait_log("admin_token_made", 5)
        token = made_token(made["file"])
        assert (await post(w, path, token=token))[0] == 409
        assert token not in w.service.log


@pytest.mark.parametrize("content", ["short", None])
def test_a_token_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with service_env(1, accounts=simple_accounts(1)) as w:
        code, said = w.service.run_to_end({"http": {"admin_token_file": str(file)}})
        assert code == 2
        assert said.count("\n") == 1
        assert "http.admin_token_file" in said
