"""The system's Chromium, driven by Playwright; for tests, benchmarks and screenshots."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Final

from playwright.sync_api import Browser, sync_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = "there is no Chromium here; install one (Debian: apt-get install chromium)"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers, and open loopback addresses only
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """Return the path of Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser.

    Raises:
        FileNotFoundError: Chromium is not installed.
    """
    path = executable()
    if path is None:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
