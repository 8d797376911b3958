"""The sandbox as a program: its command line, and GET requests to its ports."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

import aiohttp

from bench.sandbox_process import ROOT

ACCOUNTS: Final = [{"name": "bot0", "password": "p0"}, {"name": "bot1", "password": "p1"}]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m sandbox` to its end, which takes at most 20 s."""
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


async def get(url: str, **query: str) -> Any:
    """Return the JSON of a response with status 200."""
    async with aiohttp.ClientSession() as http, http.get(url, params=query) as response:
        assert response.status == 200
        return json.loads(await response.text())
