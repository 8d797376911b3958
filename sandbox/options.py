"""Options of the sandbox, as parsed by `cli.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one sandbox. Suffix `_ms`: milliseconds, `_s`: seconds."""

    accounts: Path
    port: int = 0
    matches: Path | None = None
    state: Path | None = None
    websocket_cms: int = 2
    tcp_cms: int = 2
    gc_delay_ms: float = 0.0
    welcome_delay_ms: float = 0.0
    heartbeat_s: float = 9.0
    quota_account: int = 100
    quota_ip: int = 500
    quota_cards: int = 10_000
    replay_mb: float = 1.5
    seed: int = 0
    scenario: Path | None = None
    exit_with_parent: bool = False
    clock_offset_s: float = 0.0  # Steam's clock minus this machine's
    stock_clients: bool = True  # no unknown message precedes the log-on answer
    logon_limits: bool = True  # results 84 and 87, by `logon_limits.DEFAULTS`
    early_hellos: bool = True  # some GC hellos right after games-played are ignored
