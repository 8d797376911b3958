"""What a person does on the page, in a few words."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect
from support.operator_client import TOKEN


def sign_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Admin token").fill(token)
    page.locator("#sign-in-form").get_by_role("button", name="Sign in").click()


def row(page: Page, name: str) -> Locator:
    """The row of a bot or an account in the table that is shown."""
    return page.get_by_role("row").filter(has=page.get_by_role("button", name=name, exact=True))


def show(page: Page, table: str) -> None:
    page.get_by_role("tab", name=table).click()


def details(page: Page, name: str) -> Locator:
    """Open the details of a row, and return them."""
    row(page, name).get_by_role("button", name=name, exact=True).click()
    dialog = page.locator("#details")
    expect(dialog).to_be_visible()
    return dialog


def do(page: Page, name: str, button: str) -> None:
    """Open the details of a row and press one of its buttons."""
    details(page, name).get_by_role("button", name=button, exact=True).click()


def answer(page: Page, button: str) -> None:
    """Say yes to the question that is asked, by the name of its button."""
    dialog = page.locator("#ask")
    dialog.get_by_role("button", name=button, exact=True).click()


def close(page: Page) -> None:
    page.locator("#details").get_by_role("button", name="Close").click()


def expect_state(page: Page, name: str, state: str) -> None:
    expect(row(page, name).locator(".c-state")).to_have_text(state)


def expect_told(page: Page, text: str) -> None:
    expect(page.locator("#told")).to_contain_text(text)


def expect_alert(page: Page, level: str, says: str) -> None:
    alert = page.locator("#alert")
    expect(alert).to_have_attribute("data-level", level)
    expect(alert).to_contain_text(re.compile(says))
