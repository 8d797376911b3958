"""A client of the first BotAPI, after the protocol in its README.

It knows passwords and checkouts only: no lease, no holder, no budget. Such clients may share the Redis.
"""

from __future__ import annotations

from typing import Any

from redis import Redis


class SeedClient:
    """One old instance. `redis` must decode responses; `account`: the account that it has."""

    def __init__(self, redis: Redis, prefix: str = "botapi") -> None:
        self._redis: Any = redis  # its types do not say what decode_responses decides
        self._checkouts = f"{prefix}:checkouts"
        self._passwords = f"{prefix}:passwords"
        self.account: str | None = None

    @staticmethod
    def add(redis: Redis, account: str, password: str, prefix: str = "botapi") -> None:
        """Add an account as operators of the first BotAPI do."""
        redis.hset(f"{prefix}:passwords", account, password)
        redis.zadd(f"{prefix}:checkouts", {account: 0})

    def check_out(self) -> str | None:
        """Try until an account is won or none is free; return it."""
        while (account := self.look()) is not None:
            if self.demand(account):
                return account
        return None

    def look(self) -> str | None:
        """Return the first account without a checkout; another client may see the same."""
        free: list[str] = self._redis.zrangebyscore(self._checkouts, 0, 0, start=0, num=1)
        return free[0] if free else None

    def demand(self, account: str) -> bool:
        """Increment the checkouts; the client that gets 1 has the account."""
        if self._redis.zincrby(self._checkouts, 1, account) != 1:
            return False
        self.account = account
        return True

    def password(self) -> str | None:
        """Return the password of its account."""
        if self.account is None:
            return None
        stored: str | None = self._redis.hget(self._passwords, self.account)
        return stored

    def clean_up(self) -> None:
        """On shutdown: set the checkouts of its account to 0."""
        if self.account is not None:
            self._redis.zadd(self._checkouts, {self.account: 0})
            self.account = None
