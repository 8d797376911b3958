"""/metrics of a whole service: what it shows, and that rules and dashboard ask for nothing else."""

from __future__ import annotations

import gzip
import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from support.exposition import Exposition
from support.queries import queries, wanted
from support.quick_service import given_match, quick_world

from actors.http.auth.api_keys import digest_of
from actors.http.errors import PROTOCOL
from bench.env import ServiceEnv, service_env

pytestmark = pytest.mark.integration

WITHIN_S = 30.0
ROOT = Path(__file__).parents[2]
# Labels that Prometheus adds to whatever it scrapes.
ADDED = {"instance", "job"}


def scrape(w: ServiceEnv) -> Exposition:
    status, body = w.service.get("/metrics")
    assert status == 200
    return Exposition(body.decode())


def wait_for(w: ServiceEnv, holds: Callable[[Exposition], bool]) -> Exposition:
    until = time.monotonic() + WITHIN_S
    while not holds(found := scrape(w)):
        assert time.monotonic() < until
        time.sleep(0.2)
    return found


def documented() -> set[str]:
    text = (ROOT / "docs" / "operations.md").read_text()
    return set(re.findall(r"^\| `(botapi_\w+)` \|", text, re.MULTILINE))


def ask(w: ServiceEnv, accept: str) -> tuple[str, bytes]:
    headers = {"Accept": accept, "Accept-Encoding": "gzip"}
    request = urllib.request.Request(f"{w.service.url}/metrics", headers=headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - ours
        assert answer.headers["Content-Encoding"] == "gzip"
        return answer.headers["Content-Type"], gzip.decompress(answer.read())


def test_rules_and_dashboard_ask_for_what_a_service_shows(tmp_path: Path) -> None:
    """Names, labels and the values that labels are compared with."""
    given_match(tmp_path, 7)
    with quick_world(2, matches=tmp_path, settings={"metrics": {"accounts": True}}) as w:
        for match_id in ("7", "7", "4000000015", "x"):
            w.service.get(f"/match-details?match_id={match_id}")
        w.service.get("/nowhere")
        found = wait_for(w, lambda one: "ip" in one.labels("botapi_ip_quota_left"))
        assert found.value("botapi_cache_lookups_total", source="memory") == 1
        assert found.value("botapi_gc_latency_seconds_count") == 2
        assert found.value("botapi_matches_total", error="blocked") == 1
        assert found.value("botapi_bots", state="ready") == 2
        names = found.names()
        assert documented() == {name for name in found.families() if name.startswith("botapi_")}
        no_series_yet = {"botapi_decoder_unknown_fields_total"}
        for query in queries():
            for name, labels in wanted(query.text):
                assert name in names, f"{query.where}: there is no {name}"
                known = found.labels(name)
                for label, values in labels.items():
                    if label in ADDED or name in no_series_yet:
                        continue
                    assert label in known, f"{query.where}: {name} has no label {label}"
                    if name == "botapi_http_requests_total":
                        known["error"] |= {word for word, _ in PROTOCOL.values()}
                    assert values <= known[label], f"{query.where}: {name}"
        for content, is_openmetrics in (
            ("text/plain", False),
            ("application/openmetrics-text", True),
        ):
            content_type, body = ask(w, content)
            assert content_type.startswith(f"{content}; version=")
            again = Exposition(body.decode(), is_openmetrics=is_openmetrics)
            assert again.names() >= names - {"botapi_build_info", "python_info"}


def test_it_needs_no_key_and_shows_no_secret_and_no_name(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    key = "botapi_the-key-of-alice-which-stays-hidden"
    keys.write_text(f"alice sha256:{digest_of(key).hex()}\n")
    with service_env(2, settings={"http": {"api_keys_file": str(keys)}}) as w:
        wait_for(w, lambda one: one.values("botapi_bots", "state").get("ready") == 2)
        assert w.service.get("/match-details?match_id=7")[0] == 401
        body = w.service.get("/metrics")[1].decode()
        for hidden in ("bot0000", "pw-", "alice", key, w.redis_url):
            assert hidden not in body
        text = w.service.config_file.read_text()
        w.service.config_file.write_text(f"{text}\n[metrics]\naccounts = true\n")
        w.service.wait_log("config_applied", WITHIN_S)
        named = wait_for(w, lambda one: bool(one.labels("botapi_account_quota_left")))
        assert named.labels("botapi_account_quota_left") == {"account": {"bot0000", "bot0001"}}
        assert not any(e["path"] == "/metrics" for e in w.service.events("request_answered"))


def test_without_redis_it_says_so_and_nothing_old() -> None:
    with service_env(1) as w:
        w.service.wait_ready(1)
        assert scrape(w).value("botapi_source_up", source="redis") == 1
        w.valkey.stop()
        status, body = w.service.get("/match-details?match_id=8")
        assert (status, json.loads(body)["error"]) == (503, "store-unavailable")
        found = wait_for(w, lambda one: one.value("botapi_source_up", source="redis") == 0)
        assert found.labels("botapi_accounts") == {}
        assert found.value("botapi_redis_failures_total", script="lookup_and_reserve") >= 1
        assert found.value("botapi_matches_total", error="store-unavailable") == 1
        w.valkey.start()
        wait_for(w, lambda one: one.value("botapi_source_up", source="redis") == 1)


def test_refused_log_ons_and_budgets_are_counted() -> None:
    accounts = [{"name": "a", "password": "p"}, {"name": "b", "password": "p"}]
    with service_env(2, accounts=accounts, settings={"quota": {"per_account": 2}}) as w:
        w.service.wait_ready(2)
        for match_id in range(1, 7):
            w.service.get(f"/match-details?match_id={match_id}")
        found = wait_for(w, lambda one: one.value("botapi_quota_left") == 0)
        assert found.value("botapi_budget_refusals_total", scope="account") >= 1
        assert found.value("botapi_logons_total", verdict="ok") == 2
        assert found.value("botapi_matches_total", error="") == 4
        assert found.value("botapi_matches_total", error="quota-exhausted") == 2
        assert found.value("botapi_quota_left_worst_account") == 0
        to = found.values("botapi_bot_transitions_total", "state_to")
        assert to["exhausted"] >= 1
