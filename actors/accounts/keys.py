"""Redis keys of the accounts; docs/architecture.md has the table."""

from __future__ import annotations


class Keys:
    """Names of the keys. With a hash tag as prefix (``{botapi}``) all share a cluster slot."""

    def __init__(self, prefix: str) -> None:
        self.passwords = f"{prefix}:passwords"
        self.secrets = f"{prefix}:secrets"
        self.checkouts = f"{prefix}:checkouts"
        self.sentries = f"{prefix}:sentries"
        self.leases = f"{prefix}:leases"
        self.holders = f"{prefix}:holders"
        self.hints = f"{prefix}:hints"
        self.fencing = f"{prefix}:fencing-tokens"
        self.cooldowns = f"{prefix}:cooldowns"
        self.cooldown_reasons = f"{prefix}:cooldown-reasons"
        self.refused = f"{prefix}:refused-credentials"
        self.server_time = f"{prefix}:server-time"
        self.last_logons = f"{prefix}:last-logons"
        self.spellings = f"{prefix}:spellings"
        self.steam_ids = f"{prefix}:steam-ids"
        self.day_front = f"{prefix}:"
        self.day_end = "-api-requests"
        # In front of an account or an egress IP: its requests in the last 24 hours.
        self.account_budget = f"{prefix}:quota:account:"
        self.ip_budget = f"{prefix}:quota:ip:"
        self._logons = f"{prefix}:logons:"

    def logon_bucket(self, ip: str) -> str:
        """Return the key of the token bucket of log-ons from an egress IP."""
        return f"{self._logons}{ip}:bucket"

    def logon_circuit(self, ip: str) -> str:
        """Return the key of the circuit breaker of log-ons from an egress IP."""
        return f"{self._logons}{ip}:circuit"
