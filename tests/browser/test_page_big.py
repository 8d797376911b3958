"""A thousand bots that change all the time: found, sorted, scrolled through; on a phone, accessible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import browser_fixtures
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_fixtures import OpenPage
from page_words import details, expect_state, row, show
from playwright.sync_api import Page, expect

from bench.dashboard_env import DashboardProcess

pytestmark = pytest.mark.integration

browser = browser_fixtures.browser
open_page = browser_fixtures.open_page

BOTS: Final = 1000
MOST_ROWS: Final = 60  # that exist at once, however many there are
WIDE: Final[Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: Final[Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}
ROWS = "tbody tr:not(.spacer)"
SERIOUS: Final = {"serious", "critical"}


@pytest.fixture(scope="module")
def process() -> Iterator[DashboardProcess]:
    with DashboardProcess(BOTS, changes=100) as running:
        yield running


def opened(open_page: OpenPage, process: DashboardProcess, **options: Any) -> Page:
    page = open_page(process.url, **options)
    expect(page.locator("#shown")).to_have_text(f"{BOTS} bots")
    expect(page.locator(f"#table-bots {ROWS}").first).to_be_visible()
    return page


def test_only_rows_in_sight_exist_and_all_can_be_scrolled_to(
    open_page: OpenPage, process: DashboardProcess
) -> None:
    page = opened(open_page, process, **WIDE)
    table = page.get_by_role("table", name="Bots")
    expect(table).to_have_attribute("aria-rowcount", str(BOTS + 1))
    assert page.locator(f"#table-bots {ROWS}").count() < MOST_ROWS
    for share, shown in ((1.0, "bot-1000"), (0.5, "bot-500"), (0.0, "bot-1")):
        page.locator("#table-bots").evaluate(
            "(it, share) => { it.scrollTop = share * (it.scrollHeight - it.clientHeight) }", share
        )
        expect(row(page, shown)).to_be_visible()
        assert page.locator(f"#table-bots {ROWS}").count() < MOST_ROWS
        number = shown.removeprefix("bot-")
        expect(row(page, shown)).to_have_attribute("aria-rowindex", str(int(number) + 1))


def test_what_is_looked_for_is_found(open_page: OpenPage, process: DashboardProcess) -> None:
    page = opened(open_page, process, **WIDE)
    page.get_by_label("Find", exact=True).fill("account0776")
    expect(page.locator("#shown")).to_have_text(f"1 of {BOTS}")
    expect(row(page, "bot-777")).to_be_visible()
    page.get_by_label("Find", exact=True).fill("no such bot")
    expect(page.get_by_text("Nothing to show.").first).to_be_visible()
    page.get_by_label("Find", exact=True).fill("")
    page.get_by_label("State", exact=True).select_option("waiting to retry")
    expect(page.locator(f"#table-bots {ROWS} .c-state").first).to_have_text("waiting to retry")
    states = page.locator(f"#table-bots {ROWS} .c-state").all_inner_texts()
    assert set(states) == {"waiting to retry"}


def test_a_column_sorts_both_ways(open_page: OpenPage, process: DashboardProcess) -> None:
    page = opened(open_page, process, **WIDE)
    head = page.get_by_role("columnheader", name="Bot", exact=False).first
    first = page.locator(f"#table-bots {ROWS} .c-name").first
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(first).to_have_text("bot-1")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(first).to_have_text("bot-1000")
    page.get_by_role("columnheader", name="Account").get_by_role("button").click()
    expect(first).to_have_text("bot-1")


def test_a_thousand_accounts_are_there_too(open_page: OpenPage, process: DashboardProcess) -> None:
    page = opened(open_page, process, **WIDE)
    show(page, "Accounts")
    expect(page.locator("#shown")).to_have_text(f"{BOTS + 1} accounts")
    expect_state(page, "account0000", "in use")


def test_details_follow_what_happens(open_page: OpenPage, process: DashboardProcess) -> None:
    page = opened(open_page, process, **WIDE)
    facts = details(page, "bot-1").locator("#details-facts")
    before = facts.inner_text()
    expect(facts).not_to_have_text(before, use_inner_text=True)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_narrow_screen(
    open_page: OpenPage, process: DashboardProcess, width: int
) -> None:
    page = opened(open_page, process, viewport={"width": width, "height": 844})
    wide = "document.scrollingElement.scrollWidth"
    assert page.evaluate(wide) == width
    for part in ("#alert", "#tables", "#fleet-chart", "#budgets"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    show(page, "Accounts")
    assert page.evaluate(wide) == width
    row(page, "account0000").get_by_role("button").click()
    assert page.evaluate(wide) == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious(
    open_page: OpenPage, process: DashboardProcess, screen: Any, scheme: str
) -> None:
    page = opened(open_page, process, color_scheme=scheme, **screen)
    look_with_axe(page)
    show(page, "Accounts")
    look_with_axe(page)
    row(page, "account0000").get_by_role("button").click()
    expect(page.locator("#details")).to_be_visible()
    look_with_axe(page)


def look_with_axe(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["help"], [node["html"] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in SERIOUS
    ]
    assert serious == []
