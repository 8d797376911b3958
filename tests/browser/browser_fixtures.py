"""A browser for each module, and pages that must not complain. Without a Chromium all is skipped.

The browser ends with its module: while its client runs, no other test in this thread could have a loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from support.operator_client import with_token

from bench.browser import MISSING, chromium, executable
from bench.env import ServiceEnv, service_env

WITHIN_MS = 20_000

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if executable() is None:
        pytest.skip(MISSING)
    expect.set_options(timeout=WITHIN_MS)
    with chromium() as running:
        yield running


MakeWorld = Callable[..., ServiceEnv]


@pytest.fixture
def make_env(tmp_path: Path) -> Iterator[MakeWorld]:
    """Return a function that runs a service with an admin token (or `token=False`).

    Name it before `open_page`: pages are closed before what they look at.
    """
    with contextlib.ExitStack() as stack:

        def make(bots: int, *, token: bool = True, **options: Any) -> ServiceEnv:
            settings = with_token(tmp_path) if token else {}
            for section, values in options.pop("settings", {}).items():
                settings.setdefault(section, {}).update(values)
            return stack.enter_context(service_env(bots, settings=settings, **options))

        yield make


def is_refusal(message: ConsoleMessage) -> bool:
    """Whether it is about an order that was refused, which the page shows and the browser notes."""
    return "/admin/" in message.location["url"] and "status of 4" in message.text


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return a function that opens a page at a URL; what a page complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not is_refusal(message):
            complaints.append(f"{message.type}: {message.text}")

    def open_at(url: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(WITHIN_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
