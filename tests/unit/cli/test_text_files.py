"""Files may begin with a byte order mark, which editors on Windows write."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scripted_child import capturing_log

from actors.accounts.import_file import read_accounts
from actors.http.auth.api_keys import digest_of, new_key
from sandbox.control import scenario
from sandbox.steam import accounts as sandbox_accounts
from supervisor.app.secrets import FILE_VARIABLE, admin_token, take_secret_key
from supervisor.app.web import read_keys
from supervisor.cli.accounts import _read
from supervisor.cli.client import _key
from supervisor.cli.fleet import _service
from supervisor.config.load import read_file
from supervisor.config.model import Http, Settings

TOKEN = "a-token-of-sixteen-characters"


def opens(path: Path) -> bool:
    settings = Settings(http=Http(admin_token_file=path))
    token = admin_token(settings, log=capturing_log()[0])
    return token is not None and token.opens(f"Bearer {TOKEN}")


EXAMPLES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "config.toml": ("[bots]\ncount = 3\n", lambda path: read_file(path).values),
    "API keys": (f"alice sha256:{digest_of(new_key()).hex()}\n", read_keys),
    "secret key": ("key\n", lambda path: take_secret_key({FILE_VARIABLE: str(path)})),
    "admin token": (TOKEN, opens),
    "--token-file": (TOKEN, lambda path: _service("http://x", path, None)),
    "--key-file": (TOKEN, _key),
    "accounts": ("axe:pw\n", lambda path: read_accounts([("", _read(path))]).accounts),
    "accounts of the sandbox": (
        '[{"name": "axe", "password": "pw"}]',
        lambda path: [one.name for one in sandbox_accounts.load(path)],
    ),
    "scenario of the sandbox": ("[[at]]\ns = 1\nclear = {}\n", scenario.read_file),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_byte_order_mark_changes_nothing(name: str, tmp_path: Path) -> None:
    text, read = EXAMPLES[name]
    path = tmp_path / "file"
    path.touch(mode=0o600)
    found = []
    for mark in (b"", codecs.BOM_UTF8):
        path.write_bytes(mark + text.encode())
        found.append(read(path))
    assert found[0] == found[1]
    assert found[0]


def test_no_file_of_a_person_is_read_in_another_way() -> None:
    """Every reader uses the codec `utf-8-sig`, which drops the mark."""
    folder = Path(__file__).resolve().parents[3] / "supervisor"
    plain = [
        path.name
        for path in folder.rglob("*.py")
        if 'read_text("utf-8")' in path.read_text("utf-8")
    ]
    assert plain == []
