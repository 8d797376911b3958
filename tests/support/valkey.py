"""A real Valkey for tests of the store: one server for a test run, a fresh key prefix for each test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from actors.redis.client import connect
from bench.valkey import FORGETFUL, own_valkey

_prefixes = itertools.count(1)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with own_valkey(FORGETFUL) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = connect(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
def prefix() -> str:
    return f"test{next(_prefixes)}"
