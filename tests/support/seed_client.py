"""A client of the first BotAPI, word for word: how Alice, Bob and Carol check accounts out.

It knows passwords and checkouts and nothing else: no lease, no holder, no budget. A client that shares a
Redis with the service may still be one of these.
"""

from __future__ import annotations

from typing import Any

from redis import Redis


class SeedClient:
    """One container of the old kind. `redis` must decode responses; `account` is what it has."""

    def __init__(self, redis: Redis, prefix: str = "botapi") -> None:
        self._redis: Any = redis  # its types do not say what decode_responses decides
        self._checkouts = f"{prefix}:checkouts"
        self._passwords = f"{prefix}:passwords"
        self.account: str | None = None

    @staticmethod
    def add(redis: Redis, account: str, password: str, prefix: str = "botapi") -> None:
        """Add an account as its users do by hand."""
        redis.hset(f"{prefix}:passwords", account, password)
        redis.zadd(f"{prefix}:checkouts", {account: 0})

    def check_out(self) -> str | None:
        """Try until one is won or none is free; return it."""
        while (account := self.look()) is not None:
            if self.demand(account):
                return account
        return None

    def look(self) -> str | None:
        """Ask for the first account without a checkout. Another may see the same."""
        free: list[str] = self._redis.zrangebyscore(self._checkouts, 0, 0, start=0, num=1)
        return free[0] if free else None

    def demand(self, account: str) -> bool:
        """Count one more checkout; the client that is answered 1 has it, all others were too slow."""
        if self._redis.zincrby(self._checkouts, 1, account) != 1:
            return False
        self.account = account
        return True

    def password(self) -> str | None:
        """Pull out the password of what it has."""
        if self.account is None:
            return None
        stored: str | None = self._redis.hget(self._passwords, self.account)
        return stored

    def clean_up(self) -> None:
        """On shutdown: no checkouts of what it had."""
        if self.account is not None:
            self._redis.zadd(self._checkouts, {self.account: 0})
            self.account = None
