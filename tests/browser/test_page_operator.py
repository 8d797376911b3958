"""An operator at the page of a running service: everything is seen live, and done with a few clicks."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request
from pathlib import Path

import browser_fixtures
import pytest
import redis
from browser_fixtures import MakeWorld, OpenPage
from page_words import (
    answer,
    close,
    details,
    do,
    expect_alert,
    expect_state,
    expect_told,
    row,
    show,
    sign_in,
)
from playwright.sync_api import Browser, Page, expect
from support.operator_client import TOKEN

from bench.env import ServiceEnv, simple_accounts

pytestmark = pytest.mark.integration

browser = browser_fixtures.browser
make_env = browser_fixtures.make_env
open_page = browser_fixtures.open_page

MAIL = {"name": "mail", "password": "pw-mail", "email_code": "R2D2X"}
SECRET = "typed once and never seen again"


@pytest.fixture
def w(make_env: MakeWorld) -> ServiceEnv:
    running = make_env(2, accounts=simple_accounts(4))
    running.service.wait_ready(2)
    return running


@pytest.fixture
def page(w: ServiceEnv, open_page: OpenPage) -> Page:
    """A page that is signed in."""
    page = open_page(w.service.url)
    sign_in(page)
    expect_alert(page, "well", "All is well: 2 of 2 bots are ready")
    return page


def actions(w: ServiceEnv) -> list[str]:
    return [f"{one['action']}: {one['outcome']}" for one in w.service.events("admin_action")]


def control(w: ServiceEnv, path: str, body: object) -> None:
    """Ask something of the sandbox, without a loop."""
    request = urllib.request.Request(  # noqa: S310 - ours
        w.sandbox.control_url + path, json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - ours
        pass


def test_who_is_not_signed_in_sees_and_does_nothing(w: ServiceEnv, open_page: OpenPage) -> None:
    page = open_page(w.service.url)
    expect(page.get_by_label("Admin token")).to_be_focused()
    expect(page.locator("#all")).to_be_hidden()
    sign_in(page)
    expect(page.locator("#all")).to_be_visible()
    page.reload()
    expect_alert(page, "well", "All is well")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Admin token")).to_be_visible()
    assert page.context.cookies() == []
    assert actions(w) == ["POST /session: done", "DELETE /session: done"]


def test_what_happens_is_seen_without_a_reload(w: ServiceEnv, page: Page) -> None:
    expect_state(page, "bot-1", "ready")
    control(w, "/faults", {"refuse_connect": True})
    control(w, "/drop", {"mode": "close", "all": True})
    expect(row(page, "bot-1").locator(".c-state")).not_to_have_text("ready")
    expect(row(page, "bot-1").locator(".c-error")).to_contain_text("Steam is unreachable")
    expect_alert(
        page,
        "outage",
        r"Steam has not been reachable since .*\d:\d\d.* \(2 of 2 bots: connection refused\)\."
        r"\s+Nothing to do\.",
    )
    expect(page).to_have_title("! BotAPI")
    expect(page.locator("#also li")).to_have_count(0)  # none blames a bot or an account
    (alert,) = w.service.status()["alerts"]
    assert alert["text"].partition("{when}")[0] in page.locator("#alert-text").inner_text()
    control(w, "/faults", {"refuse_connect": None})
    expect_alert(page, "well", "All is well")
    expect_state(page, "bot-1", "ready")


def test_a_bot_is_parked_revived_and_restarted(w: ServiceEnv, page: Page) -> None:
    do(page, "bot-2", "Park")
    answer(page, "Cancel")
    expect_state(page, "bot-2", "ready")
    page.locator("#details").get_by_role("button", name="Park", exact=True).click()
    answer(page, "Park")
    expect(page.locator("#details")).to_contain_text("when you want it")
    page.locator("#details").get_by_role("button", name="Let it go on").click()
    expect(page.locator("#details-facts")).to_contain_text("ready")
    page.locator("#details").get_by_role("button", name="Restart").click()
    close(page)
    expect(row(page, "bot-2").locator(".c-restarts")).to_have_text("2")
    expect_state(page, "bot-2", "ready")
    assert actions(w)[1:] == [
        f"POST /admin/bots/{{bot_id}}/{what}: done" for what in ("park", "unpark", "restart")
    ]


def test_the_fleet_is_scaled_drained_and_resumed(w: ServiceEnv, page: Page) -> None:
    page.get_by_role("button", name="Scale").click()
    page.get_by_role("spinbutton", name="Bots").fill("3")
    answer(page, "Scale")
    expect_told(page, "There shall be 3 bots.")
    expect_state(page, "bot-3", "ready")
    page.get_by_role("button", name="Drain").click()
    answer(page, "Drain")
    expect_alert(page, "act", "drained. Every account is free")
    assert set(w.scores().values()) == {0}
    page.get_by_role("button", name="Resume").click()
    expect_alert(page, "well", "All is well: 3 of 3")


def test_accounts_are_added_imported_reset_released_and_removed(w: ServiceEnv, page: Page) -> None:
    show(page, "Accounts")
    page.get_by_role("button", name="Add account").click()
    page.get_by_label("Name", exact=True).fill("with space")
    page.get_by_label("Password", exact=True).fill(SECRET)
    answer(page, "Add")
    expect(page.locator("#ask .refusal")).to_contain_text("not one that Steam gives")
    page.get_by_label("Name", exact=True).fill("added")
    answer(page, "Add")
    expect_state(page, "added", "free")

    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_label("Or its content").fill(f"imported:{SECRET}\nno separator\n")
    answer(page, "Import")
    expect(page.locator("#ask")).to_contain_text("line 2: the password is missing: expected lines")
    answer(page, "Well")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_label("Or its content").fill(f"imported:{SECRET}")
    answer(page, "Import")
    expect_state(page, "imported", "free")
    page.get_by_role("button", name="Import", exact=True).click()
    file = {"name": "a.csv", "mimeType": "text/csv", "buffer": b"name,password\nfiled,pw\n"}
    page.get_by_label("File", exact=True).set_input_files(file)  # type: ignore[arg-type]
    answer(page, "Import")
    expect_state(page, "filed", "free")

    with redis.Redis.from_url(w.redis_url) as client:
        client.zincrby("botapi:checkouts", 1, "added")  # as another client would
        client.zadd("botapi:cooldowns", {"imported": 2**45})
        client.hset("botapi:cooldown-reasons", "imported", "Steam refused it")
    expect_state(page, "added", "checked out")
    expect_state(page, "imported", "cooling down")
    do(page, "added", "Release")
    answer(page, "Release")
    close(page)
    expect_state(page, "added", "free")
    do(page, "imported", "Reset")
    answer(page, "Reset")
    close(page)
    expect_state(page, "imported", "free")

    do(page, "bot0000", "Remove")
    answer(page, "Remove")
    expect(page.locator("#ask")).to_contain_text("A bot is using it")
    answer(page, "Remove anyway")
    expect(row(page, "bot0000")).to_have_count(0)
    assert "bot0000" not in w.scores()
    assert [one for one in actions(w) if "DELETE" in one] == [
        "DELETE /admin/accounts/{name}: in-use",
        "DELETE /admin/accounts/{name}: done",
    ]


def test_a_file_reaches_the_service_as_it_is_and_one_of_another_encoding_is_refused(
    w: ServiceEnv, page: Page
) -> None:
    show(page, "Accounts")
    page.get_by_role("button", name="Import", exact=True).click()
    file = {"name": "a.txt", "mimeType": "text/plain", "buffer": "umlaut:pä".encode("latin-1")}
    page.get_by_label("File", exact=True).set_input_files(file)  # type: ignore[arg-type]
    answer(page, "Import")
    expect(page.locator("#ask")).to_contain_text("line 1: it is not UTF-8 text")
    answer(page, "Well")
    assert "umlaut" not in w.scores()


def test_what_was_typed_is_gone(w: ServiceEnv, page: Page) -> None:
    seen: list[str] = []
    page.on("response", lambda answer: seen.append(answer.text() if "/admin" in answer.url else ""))
    show(page, "Accounts")
    for button, fill in (
        (
            "Add account",
            {"Name": "one", "Password": SECRET, "Shared secret": "dHdlbnR5LWJ5dGUtc2VjcmV0ISE="},
        ),
        ("Import", {"Or its content": f"two:{SECRET}"}),
    ):
        page.get_by_role("button", name=button, exact=True).click()
        for label, text in fill.items():
            page.get_by_label(label, exact=True).fill(text)
        answer(page, button.split()[0])
        expect(page.locator("#ask")).to_be_hidden()
        everything = page.evaluate(
            "document.documentElement.outerHTML"
            " + [...document.querySelectorAll('input, textarea')].map(i => i.value).join()"
        )
        assert SECRET not in everything
        assert TOKEN not in everything
    assert SECRET not in "".join(seen)
    assert SECRET not in w.service.log


def test_a_session_that_ended_elsewhere_is_over_here(page: Page) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#all")).to_be_visible()
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Admin token")).to_be_visible()


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    page.reload()
    expect_state(page, "bot-1", "ready")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    tab = page.get_by_role("tab", name="Bots")
    page.keyboard.press("Tab")
    expect(tab).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Accounts")).to_be_focused()
    expect(page.get_by_role("table", name="Accounts")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    row(page, "bot-1").get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_be_visible()
    page.locator("#details").get_by_role("button", name="Park").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#ask-no")).to_be_focused()  # Enter alone does no harm
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    expect(row(page, "bot-1").get_by_role("button")).to_be_focused()


def test_a_guard_code_is_entered_in_a_few_clicks(make_env: MakeWorld, open_page: OpenPage) -> None:
    w = make_env(2, accounts=[MAIL, *simple_accounts(1)])
    page = open_page(w.service.url)
    sign_in(page)
    expect_alert(page, "act", "The account mail needs a Steam Guard code")
    page.locator("#alert-open").click()
    page.get_by_role("button", name="Enter a Steam Guard code").click()
    answer(page, "Begin")
    expect(page.locator("#ask")).to_contain_text("e-mail")
    page.get_by_label("Code", exact=True).fill("WRONG")
    answer(page, "Log on")
    expect(page.locator("#ask")).to_contain_text("that code was wrong")
    with urllib.request.urlopen(f"{w.sandbox.control_url}/mailbox", timeout=10) as mailbox:  # noqa: S310 - ours
        code = json.load(mailbox)["mails"][-1]["code"]
    page.get_by_label("Code", exact=True).fill(f"{code[:2]} {code[2:]}".lower())
    answer(page, "Log on")
    expect_told(page, "mail is logged on")
    close(page)
    expect_alert(page, "well", "All is well: 2 of 2")
    assert code not in w.service.log


def test_an_account_that_is_spent_makes_way_and_the_page_says_when_it_frees(
    make_env: MakeWorld, open_page: OpenPage
) -> None:
    w = make_env(1, accounts=simple_accounts(2), settings={"quota": {"per_account": 2}})
    w.service.wait_ready(1)
    page = open_page(w.service.url)
    sign_in(page)
    for number in range(3):  # the third is served by the other account
        until = time.monotonic() + 20
        while w.service.get(f"/match-details?match_id={7490000000 + number}")[0] != 200:
            assert time.monotonic() < until
    show(page, "Accounts")
    expect_state(page, "bot0000", "cooling down")
    expect(row(page, "bot0000").locator(".c-budget")).to_have_text("0")
    expect(row(page, "bot0000").locator(".c-frees")).to_have_text(re.compile(r"\d:\d\d"))
    expect(row(page, "bot0001").locator(".c-budget")).to_have_text("1")
    w.service.get("/match-details?match_id=7490000009")
    w.service.get("/match-details?match_id=7490000010")
    expect_alert(page, "act", r"budget of every account is spent; the first frees at .*\d:\d\d")
    expect(page.locator("#requests-chart .value")).to_contain_text("request")


def test_who_may_watch_and_is_not_signed_in_sees_everything_and_does_nothing(
    make_env: MakeWorld, open_page: OpenPage
) -> None:
    w = make_env(1, token=False, accounts=simple_accounts(1))
    w.service.wait_ready(1)
    page = open_page(w.service.url)
    expect_alert(page, "well", "All is well")
    for name in ("Drain", "Scale", "Add account", "Import", "Sign out"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    buttons = details(page, "bot-1").locator("#details-buttons").get_by_role("button")
    expect(buttons).to_have_text(["Its account"])
    close(page)
    page.get_by_role("button", name="Sign in").click()
    made = Path(w.service.wait_log("admin_token_made", 1)["file"])
    sign_in(page, made.read_text().strip())
    expect(page.get_by_role("button", name="Drain")).to_be_visible()


def test_a_service_that_is_away_is_shown_and_found_again(
    make_env: MakeWorld, browser: Browser
) -> None:
    """Here the browser's console may complain: it is what connects."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"http": {"port": port}}
    w = make_env(1, token=False, accounts=simple_accounts(1), settings=settings)
    w.service.wait_ready(1)
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(w.service.url)
        expect(page.locator("#link")).to_have_text("live")
        w.service.stop()
        expect(page.locator("#link")).to_have_text("connecting")
        expect_state(page, "bot-1", "ready")  # what was seen last stays
        w.service.start()
        expect(page.locator("#link")).to_have_text("live")
        expect_alert(page, "well", "All is well")
