"""What the sandbox can be told at its start, as one frozen value. No parsing here; see `cli.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """One sandbox. Durations: `_ms` milliseconds, `_s` seconds."""

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
    clock_offset_s: float = 0.0  # of Steam's clock before this machine's
    stock_clients: bool = True  # nothing stands before the log-on answer that steam 1.4.4 fails on
    logon_limits: bool = True  # 84 and 87 by the rule of `limits.DEFAULTS`
    early_hellos: bool = True  # some GC hellos right after games-played are lost
