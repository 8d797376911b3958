"""The key in OpenDota's queries (`RETRIEVER_SECRET`) is an API key."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.http.auth.api_keys import SCHEME, digest_of
from bench.env import service_env

pytestmark = pytest.mark.integration
KEY = "what-is-in-retriever-secret"


def test_the_key_in_the_query_opens_the_retrievers_routes_and_no_other(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"opendota {SCHEME}{digest_of(KEY).hex()} per-minute=60 burst=2\n")
    keys.chmod(0o600)
    with service_env(1, settings={"http": {"api_keys_file": str(keys)}}) as w:
        assert w.service.get("/match/5")[0] == 403
        assert w.service.get("/profile/5?key=")[1] == b"invalid key"
        assert w.service.get("/aliases/5?key=wrong")[1] == b"invalid key"
        assert w.service.get(f"/match-details?match_id=5&key={KEY}")[0] == 401
        assert w.service.get(f"/profile/-1?key={KEY}")[0] == 400
        assert w.service.get(f"/profile/-1?key={KEY}")[0] == 400
        assert w.service.get(f"/profile/-1?key={KEY}") == (429, b"too many requests")
        assert KEY not in w.service.log
