"""The URL of a match's replay file: pure text from facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from actors.matches.details import REPLAY_AVAILABLE, MatchDetails

DOMAIN: Final = "valve.net"
# Perfect World's clusters keep their replays in China (odota/core).
DOMAIN_OF_CLUSTER: Final[Mapping[int, str]] = dict.fromkeys((413, 415, 417), "dota2.com.cn")


def replay_url(match_id: int, details: MatchDetails) -> str | None:
    """Return the URL of the replay file, or None where there is none.

    None: not recorded or expired (an expired match may carry a dummy salt), an old-format match without
    a salt, or no cluster. A replay that is not uploaded yet has a URL that answers 404 for a while.
    """
    if details.replay_state != REPLAY_AVAILABLE or not details.replay_salt or not details.cluster:
        return None
    domain = DOMAIN_OF_CLUSTER.get(details.cluster, DOMAIN)
    return f"http://replay{details.cluster}.{domain}/570/{match_id}_{details.replay_salt}.dem.bz2"


def on_mirror(url: str, mirror: str) -> str:
    """Return the URL of the same file on another server; `mirror` is its base URL."""
    return mirror.rstrip("/") + urlsplit(url).path


def is_valves(url: str) -> bool:
    """Return whether a URL leads to Valve's (or Perfect World's) replay servers."""
    host = urlsplit(url).hostname or ""
    return host.endswith((f".{DOMAIN}", *(f".{domain}" for domain in DOMAIN_OF_CLUSTER.values())))


def to_json(match_id: int, details: MatchDetails) -> bytes:
    """Return the API's answer: the GC's response with `id` and `replay_url` in front."""
    answer: dict[str, Any] = {
        "id": match_id,
        "replay_url": replay_url(match_id, details),
        **details.fields,
    }
    return orjson.dumps(answer)
