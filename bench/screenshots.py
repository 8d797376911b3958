"""Takes screenshots of the page for the documentation.

python -m bench.screenshots [docs/images]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from bench.browser import chromium
from bench.dashboard_env import DashboardProcess

WIDE: Final[dict[str, Any]] = {"viewport": {"width": 1180, "height": 1180}}
SCREENSHOTS: Final[dict[str, dict[str, Any]]] = {
    "page-light": WIDE,
    "page-dark": {**WIDE, "color_scheme": "dark"},
    "page-phone": {"viewport": {"width": 390, "height": 1180}},
}


def main() -> None:
    """Take all screenshots."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    with DashboardProcess(12, changes=10) as process, chromium() as browser:
        for name, options in SCREENSHOTS.items():
            page = browser.new_page(**options)
            page.goto(process.url)
            page.wait_for_selector("#table-bots tbody tr:not(.spacer)")
            page.wait_for_timeout(4000)
            page.screenshot(path=folder / f"{name}.png")
            page.close()


if __name__ == "__main__":
    main()
