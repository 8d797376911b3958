"""An edit of config.toml takes effect in seconds and costs no request; a bad one is refused (P10)."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.env import ServiceEnv, service_env, simple_accounts
from bench.service_process import ServiceProcess, toml

pytestmark = pytest.mark.integration

WITHIN_S = 15.0
Save = Callable[[Path, str], None]


def edited(service: ServiceProcess, **sections: dict[str, Any]) -> str:
    """The service's settings with these laid over, as its file has them."""
    settings = {name: dict(values) for name, values in service.settings.items()}
    for section, values in sections.items():
        settings.setdefault(section, {}).update(values)
    return toml(service._filled(settings))


def write_in_place(file: Path, text: str) -> None:
    file.write_text(text)


def rename_over(file: Path, text: str) -> None:
    beside = file.with_name(".config.toml.new")
    beside.write_text(text)
    beside.replace(file)


def move_away_and_write(file: Path, text: str) -> None:
    """As vim does with `backupcopy=no`."""
    file.replace(file.with_name("config.toml~"))
    file.write_text(text)


def swap_directory(file: Path, text: str) -> None:
    """As Kubernetes updates a ConfigMap: config.toml -> ..data/config.toml, ..data -> ..version."""
    folder = file.parent
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir()
    (version / "config.toml").write_text(text)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").replace(folder / "..data")
    if not file.is_symlink():
        (folder / "link").symlink_to(Path("..data") / "config.toml")
        (folder / "link").replace(file)


def wait_until(is_so: Callable[[], Any], service: ServiceProcess, within: float = WITHIN_S) -> Any:
    """Return the first true answer."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        if answer := is_so():
            return answer
        time.sleep(0.02)
    raise TimeoutError(service.log[-3000:])


def told(service: ServiceProcess, event: str, act: Callable[[], object]) -> dict[str, Any]:
    """Do `act`, wait for the one new line of that name, and return it."""
    before = len(list(service.events(event)))
    act()
    wait_until(lambda: len(list(service.events(event))) > before, service)
    new = list(service.events(event))[before:]
    assert len(new) == 1
    return new[0]


def edit(
    service: ServiceProcess, save: Save = rename_over, **sections: dict[str, Any]
) -> dict[str, Any]:
    """Save the settings with these laid over; return the line that says they are applied."""
    text = edited(service, **sections)
    return told(service, "config_applied", lambda: save(service.config_file, text))


def hang_up(service: ServiceProcess) -> None:
    service.process.send_signal(signal.SIGHUP)


@pytest.fixture(scope="module")
def _one_bot() -> Iterator[ServiceProcess]:
    with service_env(1, sandbox_options=("--gc-delay", "700")) as w:
        w.service.wait_ready(1)
        yield w.service


@pytest.fixture
def service(_one_bot: ServiceProcess) -> Iterator[ServiceProcess]:
    """A service with one bot, shared by the tests; afterwards its settings are what they were."""
    yield _one_bot
    if not _one_bot.config_file.exists() or _one_bot.config_file.read_text() != edited(_one_bot):
        edit(_one_bot)


def config(service: ServiceProcess) -> dict[str, Any]:
    return dict(service.status()["config"])


def test_an_edit_is_noticed_however_it_is_saved() -> None:
    ways: list[Save] = [
        write_in_place,
        rename_over,
        move_away_and_write,
        swap_directory,
        swap_directory,
        rename_over,
    ]
    with service_env(1, accounts=simple_accounts(1 + len(ways))) as w:
        service = w.service
        service.wait_ready(1)
        assert config(service)["needs_restart"] == []
        begun = config(service)["applied_at"]
        for count, save in enumerate(ways, 2):
            assert edit(service, save, bots={"count": count})["changed"] == ["bots.count"], save
            service.wait_ready(count)
        assert config(service)["applied_at"] > begun
        assert list(service.events("config_refused")) == []
        assert service.stop() == 0
        assert set(w.scores().values()) == {0}


def test_sighup_has_the_file_read_again(service: ServiceProcess) -> None:
    told(service, "config_unchanged", lambda: hang_up(service))
    service.config_file.unlink()
    hang_up(service)
    wait_until(lambda: config(service)["refused"], service)
    assert "there is no such file" in config(service)["refused"]
    assert service.get("/match-details?match_id=1")[0] == 200


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[bots]\ncount = ", "is not valid TOML"),
        ("[bots]\ncuont = 3\n", "unknown key bots.cuont; did you mean bots.count?"),
        ("[bots]\ncount = 0\n", "bots.count must be a whole number from 1 to 1000, not 0"),
        ("[bots]\nrequest_timeout = 60\n", "request_timeout (60) must be at most http.deadline"),
        ('[redis]\nurl = "http://u:hunter2@h"\n', "redis.url must be"),
        ("", "is empty"),
    ],
)
def test_a_bad_edit_changes_nothing_and_says_why(
    service: ServiceProcess, text: str, reason: str
) -> None:
    applied = len(list(service.events("config_applied")))
    # What stands beside the mistake is good, and must not be applied either.
    text = text and '[log]\nlevel = "error"\n' + text
    line = told(service, "config_refused", lambda: service.config_file.write_text(text))
    assert reason in line["reason"]
    assert reason in config(service)["refused"]
    assert service.get("/match-details?match_id=2")[0] == 200
    assert "hunter2" not in service.log
    assert len(list(service.events("config_applied"))) == applied
    assert edit(service)["changed"] == []
    assert config(service)["refused"] is None


def test_what_needs_a_restart_says_so_until_it_is_taken_back(service: ServiceProcess) -> None:
    line = edit(service, bots={"lease_seconds": 90, "max_in_flight": 3}, http={"port": 1})
    assert line["changed"] == ["bots.max_in_flight"]
    assert line["needs_restart"] == ["bots.lease_seconds", "http.port"]
    assert config(service)["needs_restart"] == ["bots.lease_seconds", "http.port"]
    assert "needs_restart" not in edit(service)
    assert config(service)["needs_restart"] == []


def test_the_log_level_changes_at_once_and_back(service: ServiceProcess) -> None:
    def quiet_lines() -> int:
        service.get("/healthz")
        found = service.events("request_answered")
        return sum(line["level"] == "debug" for line in found)

    assert quiet_lines() == 0
    edit(service, log={"level": "debug"})
    wait_until(quiet_lines, service)
    edit(service)
    assert quiet_lines() == quiet_lines()


def test_timeouts_hold_from_the_next_request_on(service: ServiceProcess) -> None:
    edit(service, bots={"request_timeout": 0.2}, http={"deadline": 0.3})
    begun = time.monotonic()
    assert service.get("/match-details?match_id=3")[0] in {503, 504}
    assert time.monotonic() - begun < 0.7
    edit(service)
    assert service.get("/match-details?match_id=4")[0] == 200


def test_the_environment_still_wins_over_an_edit() -> None:
    with service_env(1, accounts=simple_accounts(3)) as w:
        service = w.service
        service.stop()
        service.env["BOTAPI_BOTS__COUNT"] = "1"
        service.start()
        service.wait_ready(1)
        line = edit(service, bots={"count": 3, "max_in_flight": 9})
        assert line["changed"] == ["bots.max_in_flight"]
        assert line["overridden"] == {"bots.count": "BOTAPI_BOTS__COUNT"}
        assert len(service.status()["fleet"]) == 1


def test_a_quota_is_lowered_and_raised() -> None:
    with service_env(2) as w:
        service = w.service
        service.wait_ready(2)
        ids = itertools.count(1)

        def ask() -> tuple[int, str | None]:
            status, body = service.get(f"/match-details?match_id={next(ids)}")
            return status, json.loads(body).get("error")

        assert [ask() for _ in range(6)] == [(200, None)] * 6
        assert edit(service, quota={"per_account": 2})["changed"] == ["quota.per_account"]
        wait_until(lambda: ask() == (429, "quota-exhausted"), service)
        edit(service, quota={"per_account": 50})
        wait_until(lambda: ask() == (200, None), service)
        # The same for the shared budget; no bot leaves its account for that.
        edit(service, quota={"per_account": 50, "per_ip": 2})
        wait_until(lambda: ask() == (429, "quota-exhausted"), service)
        edit(service, quota={"per_account": 50})
        assert ask() == (200, None)


@dataclass
class Load:
    """Asks for one match after the other, several at a time, until told to stop."""

    url: str
    askers: int = 40
    outcomes: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    _over: bool = False
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        ids = itertools.count(1000)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._ask(session, ids) for _ in range(self.askers)))

    def stop(self) -> None:
        self._over = True

    async def more(self, number: int) -> None:
        """Wait until that many more were answered."""
        enough = self.outcomes.total() + number
        while self.outcomes.total() < enough:
            self._answered.clear()
            await self._answered.wait()

    async def _ask(self, session: aiohttp.ClientSession, ids: itertools.count[int]) -> None:
        while not self._over:
            begun = time.monotonic()
            url = f"{self.url}/match-details?match_id={next(ids)}"
            async with session.get(url) as answer:
                await answer.read()
                self.outcomes[answer.status] += 1
                self._answered.set()
            self.slowest = max(self.slowest, time.monotonic() - begun)


async def ready(w: ServiceEnv, count: int) -> None:
    await asyncio.to_thread(w.service.wait_ready, count)


def ready_now(w: ServiceEnv) -> tuple[int, int]:
    status = w.service.status()
    return len(status["fleet"]), status["router"]["ready"]


async def test_the_fleet_grows_and_shrinks_without_losing_a_request() -> None:
    """5 -> 50 -> 3 bots while requests run."""
    options = ("--gc-delay", "200")
    with service_env(5, accounts=simple_accounts(50), sandbox_options=options) as w:
        service = w.service
        await ready(w, 5)
        load = Load(service.url)
        asking = asyncio.create_task(load.run())
        await load.more(100)
        begun = time.monotonic()
        await asyncio.to_thread(edit, service, bots={"count": 50})
        await ready(w, 50)
        grown_s = time.monotonic() - begun
        await load.more(200)
        since = await w.sandbox.last_event()
        before = load.outcomes.total()
        begun = time.monotonic()
        await asyncio.to_thread(edit, service, bots={"count": 3})
        await asyncio.to_thread(wait_until, lambda: ready_now(w) == (3, 3), service)
        shrunk_s = time.monotonic() - begun
        meanwhile = load.outcomes.total() - before
        await load.more(100)
        load.stop()
        await asking
        assert set(load.outcomes) == {200}
        ends = await w.sandbox.journal("session_ended", since=since)
        assert [one["clean"] for one in ends] == [True] * 47
        assert sorted(w.scores().values()) == [0] * 47 + [1] * 3
        # Only answered requests were charged.
        assert list(service.events("attempt_failed")) == []
        requests = (await w.sandbox.summary())["requests"]
        assert sum(requests.values()) == load.outcomes.total()
        assert list(service.events("child_crashed")) == []
        assert service.stop() == 0
        assert set(w.scores().values()) == {0}
    figures = (
        f"5 -> 50 in {grown_s:.2f} s, 50 -> 3 in {shrunk_s:.2f} s ({meanwhile} answered meanwhile)"
    )
    print(figures, dict(load.outcomes), f"slowest {load.slowest:.2f} s")  # noqa: T201 - pytest -s


async def test_edits_that_come_faster_than_the_fleet_follows_end_as_the_last_one_says() -> None:
    """Bots that leave are still logging on, and ids of those that leave are not given to new ones."""
    with service_env(5, accounts=simple_accounts(30), sandbox_options=("--gc-delay", "100")) as w:
        service = w.service
        await ready(w, 5)
        load = Load(service.url)
        asking = asyncio.create_task(load.run())
        for count in (30, 2, 25, 1, 20, 3):
            await asyncio.to_thread(edit, service, bots={"count": count})
        await asyncio.to_thread(wait_until, lambda: ready_now(w) == (3, 3), service)
        await load.more(50)
        load.stop()
        await asking
        assert set(load.outcomes) == {200}
        assert sorted(w.scores().values()) == [0] * 27 + [1] * 3
        assert list(service.events("child_crashed")) == []
        assert set((await w.sandbox.summary())["max_concurrent"].values()) == {1}
        assert await w.sandbox.journal("protocol_violation") == []
