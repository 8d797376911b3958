"""What an operator does to accounts over HTTP: done at once, refused in a word, and in the audit log."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from support.operator_client import TOKEN, ask, with_token

from bench.env import ServiceEnv, service_env, simple_accounts

pytestmark = pytest.mark.integration

SECRET = "a password that must stay secret"


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    """One bot on the first of three accounts; the tests do not undo what they do to the others."""
    settings = with_token(tmp_path_factory.mktemp("admin"))
    with service_env(1, accounts=simple_accounts(3), settings=settings) as running:
        running.service.wait_ready(1)
        yield running


async def accounts(w: ServiceEnv) -> dict[str, dict[str, Any]]:
    _, answer = await ask(w.service.url, "GET", "/admin/accounts")
    return {row["account"]: row for row in answer["accounts"]}


def actions(w: ServiceEnv) -> list[dict[str, Any]]:
    return list(w.service.events("admin_action"))


async def test_the_list_says_where_every_account_is(w: ServiceEnv) -> None:
    rows = await accounts(w)
    held = rows["bot0000"]
    assert (held["state"], rows["bot0001"]["state"]) == ("in use", "free")
    assert held["holder"].endswith("/bot-1")
    assert held["used"] == 0
    assert held["held_for_s"] >= 0
    assert "password" not in str(rows)


async def test_one_is_added_and_another_password_is_no_other_account(w: ServiceEnv) -> None:
    body = {"name": "new", "password": SECRET}
    for _ in range(2):
        status, answer = await ask(w.service.url, "POST", "/admin/accounts", body)
        assert (status, answer) == (201, {"account": "new", "state": "added"})
    assert w.scores()["new"] == 0
    assert actions(w)[-1]["action"] == "POST /admin/accounts"
    assert actions(w)[-1]["account"] == "new"
    assert SECRET not in w.service.log


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("one:pw\ntwo:pw\n", ["one", "two"]),
        ("name,password\nthree,pw\n", ["three"]),
        (
            '[{"name": "four", "password": "pw", "shared_secret": "dHdlbnR5LWJ5dGUtc2VjcmV0ISE="}]',
            ["four"],
        ),
    ],
)
async def test_a_file_is_imported_in_any_form(w: ServiceEnv, text: str, names: list[str]) -> None:
    status, answer = await ask(w.service.url, "POST", "/admin/import", text)
    assert (status, answer) == (200, {"imported": len(names), "refused": 0, "problems": []})
    assert names == sorted(names)
    assert set(names) <= set(w.scores())


async def test_a_file_with_something_bad_is_refused_whole_and_the_lines_are_named(
    w: ServiceEnv,
) -> None:
    text = f"good:{SECRET}\nno colon here\n:{SECRET}\n"
    status, answer = await ask(w.service.url, "POST", "/admin/import", text)
    assert (status, answer["imported"], answer["refused"]) == (200, 0, 2)
    assert [problem["where"] for problem in answer["problems"]] == ["line 2", "line 3"]
    assert "good" not in w.scores()
    assert SECRET not in str(answer)
    assert SECRET not in w.service.log
    assert (actions(w)[-1]["imported"], actions(w)[-1]["refused"]) == (0, 2)


async def test_a_mafile_gives_its_secret_to_an_account_that_is_there(w: ServiceEnv) -> None:
    import redis  # noqa: PLC0415 - to look at what is stored

    mafile = {"shared_secret": bytes(20).hex(), "account_name": "Phoned"}
    status, answer = await ask(w.service.url, "POST", "/admin/import", mafile)
    assert (status, answer["error"]) == (409, "no-password")
    assert "no password is known for Phoned" in answer["message"]
    assert "Phoned" not in w.scores()
    await ask(w.service.url, "POST", "/admin/accounts", {"name": "phoned", "password": "pw"})
    status, answer = await ask(w.service.url, "POST", "/admin/import", mafile)
    assert (status, answer["imported"], answer["refused"]) == (200, 1, 0)
    with redis.Redis.from_url(w.redis_url, decode_responses=True) as client:
        assert client.hget("botapi:passwords", "phoned") == "pw"
        assert client.hget("botapi:secrets", "phoned") == base64.b64encode(bytes(20)).decode()


async def test_a_file_that_is_no_text_is_refused_in_a_sentence(w: ServiceEnv) -> None:
    for text, phrase in (
        ("\udcff:pw", "UTF-8"),
        ("", "no account"),
        ("name,password\na," + "x" * 2**18, "length"),
    ):
        status, answer = await ask(w.service.url, "POST", "/admin/import", text)
        assert (status, answer["imported"], answer["refused"]) == (200, 0, 1)
        assert phrase in answer["problems"][0]["problem"]


async def test_a_second_spelling_gets_the_new_password_and_the_answer_says_so(
    w: ServiceEnv,
) -> None:
    await ask(w.service.url, "POST", "/admin/accounts", {"name": "Drow", "password": "pw"})
    second = {"name": "drow", "password": "pw2"}
    status, answer = await ask(w.service.url, "POST", "/admin/accounts", second)
    assert (status, answer) == (201, {"account": "Drow", "state": "added"})
    status, answer = await ask(w.service.url, "POST", "/admin/import", "DROW:pw3\n")
    assert (status, answer["imported"], answer["refused"]) == (200, 1, 0)
    sentence = "DROW is the same Steam account as Drow, which has the new password now"
    assert answer["problems"] == [{"where": "account DROW", "problem": sentence}]


async def test_ten_thousand_lines_are_no_problem(w: ServiceEnv) -> None:
    text = "\n".join(f"many{number:05}:{SECRET}" for number in range(10_000))
    assert len(text) > 64 * 1024
    status, answer = await ask(w.service.url, "POST", "/admin/import", text)
    assert (status, answer["imported"]) == (200, 10_000)
    assert len([name for name in w.scores() if name.startswith("many")]) == 10_000


async def test_an_account_in_use_is_removed_and_released_only_by_force(w: ServiceEnv) -> None:
    for method, path in (("DELETE", ""), ("POST", "/release")):
        status, answer = await ask(w.service.url, method, f"/admin/accounts/bot0000{path}")
        assert (status, answer["error"]) == (409, "in-use")
        assert actions(w)[-1]["outcome"] == "in-use"
    assert w.service.status()["router"]["ready"] == 1

    status, _ = await ask(w.service.url, "DELETE", "/admin/accounts/bot0000?force=1")
    assert status == 200
    assert actions(w)[-1]["force"] is True
    assert "bot0000" not in await accounts(w)


async def test_a_checkout_that_was_left_behind_is_released(w: ServiceEnv) -> None:
    import redis  # noqa: PLC0415 - as another client

    with redis.Redis.from_url(w.redis_url) as client:
        client.zincrby("botapi:checkouts", 1, "bot0002")
    assert (await accounts(w))["bot0002"]["state"] == "checked out"
    status, answer = await ask(w.service.url, "POST", "/admin/accounts/bot0002/release")
    assert (status, answer["state"]) == (200, "released")
    assert w.scores()["bot0002"] == 0


async def test_reset_ends_a_cooldown(w: ServiceEnv) -> None:
    import redis  # noqa: PLC0415 - as above

    with redis.Redis.from_url(w.redis_url) as client:
        client.zadd("botapi:checkouts", {"cool": 0})
        client.hset("botapi:passwords", "cool", "pw")
        client.zadd("botapi:cooldowns", {"cool": 2**53})
    assert (await accounts(w))["cool"]["state"] == "cooling down"
    status, answer = await ask(w.service.url, "POST", "/admin/accounts/cool/reset")
    assert (status, answer) == (200, {"account": "cool", "state": "reset"})
    assert (await accounts(w))["cool"]["cooldown_s"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "word"),
    [
        ("POST", "/admin/accounts", "not JSON", 400, "invalid"),
        ("POST", "/admin/accounts", {"name": "x"}, 400, "invalid"),
        ("POST", "/admin/accounts", {"name": "with space", "password": "p"}, 400, "invalid"),
        (
            "POST",
            "/admin/accounts",
            {"name": "x", "password": "p", "shared_secret": "!"},
            400,
            "invalid",
        ),
        ("POST", "/admin/accounts/unknown/reset", None, 404, "not-found"),
        ("POST", "/admin/accounts/unknown/release", None, 404, "not-found"),
        ("DELETE", "/admin/accounts/unknown", None, 404, "not-found"),
        ("PUT", "/admin/accounts", None, 405, "method-not-allowed"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_word(
    w: ServiceEnv, *, method: str, path: str, body: Any, status: int, word: str
) -> None:
    got, answer = await ask(w.service.url, method, path, body)
    assert (got, answer["error"]) == (status, word)


async def test_other_clients_are_refused_and_the_attempt_is_logged(w: ServiceEnv) -> None:
    before = len(actions(w))
    for token in (None, "another token of that length", TOKEN[:-1]):
        for method, path in (
            ("GET", "/admin/accounts"),
            ("POST", "/admin/accounts"),
            ("POST", "/admin/fleet/drain"),
            ("DELETE", "/admin/accounts/bot0001"),
        ):
            status, answer = await ask(w.service.url, method, path, token=token)
            assert (status, answer["error"]) == (401, "unauthorized")
    tried = actions(w)[before:]
    assert len(tried) == 9  # reading is no action
    assert {(one["who"], one["outcome"]) for one in tried} == {("unauthenticated", "unauthorized")}
    assert TOKEN not in w.service.log


async def test_an_action_on_a_name_of_any_length_is_one_short_line(w: ServiceEnv) -> None:
    path = f"/admin/accounts/{'token' * 1500}=/release"
    status, _ = await ask(w.service.url, "POST", path, token="a token that is not the one")
    assert status == 401
    action = actions(w)[-1]
    assert (action["status"], len(action["target"])) == (401, 200)
    assert len(str(action)) < 1000
