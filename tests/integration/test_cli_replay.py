"""`botapi replay` with a real service and the replay server of the sandbox."""

from __future__ import annotations

import asyncio
import bz2
import dataclasses
import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from support.command import COMMAND, WITHIN_S, Said, botapi, environment, on_terminal

from actors.replays import download
from actors.replays.files import PartFile
from bench.env import ServiceEnv, service_env
from supervisor.cli.replay import Bar
from supervisor.clock import SystemClock

pytestmark = pytest.mark.integration

MATCH = 7490235544
NAME = "7490235544_447089001.dem.bz2"
NOT_RECORDED, EXPIRED, OLD_FORMAT, NO_SUCH = 6_000_000_013, 6_000_000_007, 50_000_000, 9_000_000_001
JUST_PLAYED = 8_900_000_001
NEW_MATCH = 8_990_000_000  # its replay is compressed with zstd
MAGIC = b"PBDEMS2\0"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceEnv]:
    matches = tmp_path_factory.mktemp("matches")
    match = {
        "match_id": str(JUST_PLAYED),
        "starttime": int(time.time()) - 3600,
        "duration": 1800,
        "cluster": 153,
        "replay_salt": 5,
        "replay_state": "REPLAY_AVAILABLE",
    }
    (matches / "one.json").write_text(json.dumps({"result": 1, "match": match}))
    with service_env(1, matches=matches) as one:
        one.service.wait_ready(1)
        yield one


@dataclasses.dataclass
class Here:
    """A directory to download to, and the service and servers to download from."""

    origin: ServiceEnv
    cwd: Path

    @property
    def env(self) -> dict[str, str]:
        return {"BOTAPI_URL": self.origin.service.url}

    def replay(self, *words: str, match_id: int = MATCH) -> Said:
        return botapi("replay", str(match_id), *words, cwd=self.cwd, env=self.env)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, "replay", str(MATCH), *words],
            cwd=self.cwd,
            env=environment(self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def faults(self, **switches: Any) -> None:
        await self.origin.sandbox.faults(**switches)

    async def requests(self) -> list[tuple[int, int]]:
        """Return status and first byte of every request since the test began."""
        events = await self.origin.sandbox.journal("replay_request", since=self.since)
        return [(event["status"], event["start"]) for event in events]

    def files(self) -> set[str]:
        return {path.name for path in self.cwd.iterdir()}

    def wait_part(self, name: str, size: int) -> None:
        """Wait until so many bytes have arrived."""
        part, until = self.cwd / f"{name}.part", time.monotonic() + WITHIN_S
        while not part.exists() or part.stat().st_size < size:
            assert time.monotonic() < until
            time.sleep(0.01)

    since: int = 0


@pytest.fixture
async def here(running: ServiceEnv, tmp_path: Path) -> Here:
    await running.sandbox.clear_faults()
    await running.sandbox.call("POST", "/matches/no-replay", {"remove": [MATCH, JUST_PLAYED]})
    return Here(running, tmp_path, since=await running.sandbox.last_event())


@pytest.fixture(scope="module")
def whole(running: ServiceEnv) -> bytes:
    """The expected replay, downloaded directly."""
    url = f"{running.sandbox.replay_url}/570/{NAME}"
    before = asyncio.run(running.sandbox.last_event())
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the sandbox
        body: bytes = answer.read()
    # The journal has a download only after its last byte; a test counts what comes after it.
    asyncio.run(running.sandbox.wait_journal("replay_request", since=before))
    return body


def unpacked(packed: bytes) -> bytes:
    found = b""
    while packed:
        one = bz2.BZ2Decompressor() if packed[:3] == b"BZh" else zstd.ZstdDecompressor()
        found += one.decompress(packed)
        packed = one.unused_data
    return found


# -- success ---------------------------------------------------------------------------------------


def test_a_replay_comes_whole_and_leaves_nothing_beside_it(here: Here, whole: bytes) -> None:
    said = here.replay("-o", "x.dem.bz2")
    assert (said.code, said.out, said.err) == (0, "x.dem.bz2: a whole replay (bzip2), 1.4 MB\n", "")
    assert (here.cwd / "x.dem.bz2").read_bytes() == whole
    assert here.files() == {"x.dem.bz2"}


def test_without_a_name_it_has_its_own_here_or_in_a_directory(here: Here) -> None:
    (here.cwd / "replays").mkdir()
    assert here.replay().code == 0
    said = here.replay("-o", "replays", "--json")
    told = json.loads(said.out)
    assert told == {
        "match_id": MATCH,
        "file": f"replays/{NAME}",
        "bytes": (here.cwd / NAME).stat().st_size,
        "url": f"{here.origin.sandbox.replay_url}/570/{NAME}",
        "compression": "bzip2",
    }


def test_extract_writes_the_unpacked_replay_alone(here: Here, whole: bytes) -> None:
    said = here.replay("--extract", "-o", "x.dem")
    assert said.code == 0
    assert (here.cwd / "x.dem").read_bytes() == unpacked(whole)
    assert (here.cwd / "x.dem").read_bytes().startswith(MAGIC)
    assert here.files() == {"x.dem"}


def test_a_replay_in_zstd_comes_whole_and_can_be_extracted(here: Here) -> None:
    said = here.replay("-o", "x", match_id=NEW_MATCH)
    assert said.code == 0
    assert said.out.startswith("x: a whole replay (zstd), ")
    packed = (here.cwd / "x").read_bytes()
    assert packed[:4] == bytes.fromhex("28b52ffd")
    assert here.replay("--extract", "-o", "x.dem", match_id=NEW_MATCH).code == 0
    assert (here.cwd / "x.dem").read_bytes() == unpacked(packed)
    assert here.files() == {"x", "x.dem"}


async def test_a_replay_in_zstd_goes_on_where_it_broke(here: Here) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 1})
    assert here.replay("-o", "x", "--retries", "0", match_id=NEW_MATCH).code == 4
    assert here.replay("-o", "x", "--extract", match_id=NEW_MATCH).code == 0
    assert (here.cwd / "x").read_bytes().startswith(MAGIC)
    assert await here.requests() == [(200, 0), (206, 500_000)]


def test_a_replay_goes_to_stdout_once_it_is_verified(here: Here, whole: bytes) -> None:
    for words, expected in (((), whole), (("--extract",), unpacked(whole))):
        with here.start("-o", "-", *words) as process:
            out, err = process.communicate(timeout=WITHIN_S)
        assert (process.returncode, out, err) == (0, expected, b"")
    assert here.files() == set()


async def test_nothing_is_written_to_stdout_of_a_replay_that_is_not_whole(here: Here) -> None:
    await here.faults(replay_break_kb=100)
    with here.start("-o", "-", "--retries", "0") as process:
        out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out) == (4, b"")
    assert err.startswith(b"botapi: the download failed: ")
    assert b"kept" not in err
    assert here.files() == set()


def test_stdout_is_not_for_a_terminal_nor_beside_json(here: Here) -> None:
    said = here.replay("-o", "-", "--json")
    assert (said.code, said.err) == (
        2,
        "botapi: --json writes to stdout too: name a file with -o\n",
    )
    with on_terminal("replay", str(MATCH), "-o", "-", cwd=here.cwd, env=here.env) as terminal:
        terminal.wait_for("stdout is a terminal: name a file with -o")
        assert terminal.ended() == 2
    assert here.files() == set()


def test_a_file_that_exists_is_only_replaced_by_force(here: Here, whole: bytes) -> None:
    (here.cwd / "x").write_text("mine")
    said = here.replay("-o", "x")
    assert (said.code, said.err) == (2, "botapi: x exists; --force replaces it\n")
    assert (here.cwd / "x").read_text() == "mine"
    assert here.replay("-o", "x", "--force").code == 0
    assert (here.cwd / "x").read_bytes() == whole


def test_the_service_names_the_mirror_but_answers_with_valves_address(here: Here) -> None:
    answer = json.loads(here.origin.service.get(f"/match-details?match_id={MATCH}")[1])
    assert answer["replay_url"] == f"http://replay153.valve.net/570/{NAME}"
    assert here.origin.service.status()["replay_mirror"] == here.origin.sandbox.replay_url
    facts = json.loads(here.origin.service.get(f"/replays/{MATCH}?redirect=0")[1])
    assert facts["url"] == f"{here.origin.sandbox.replay_url}/570/{NAME}"
    redirected = f"{here.origin.service.url}/replays/{MATCH}"
    with urllib.request.urlopen(redirected, timeout=30) as answer:  # noqa: S310 - the sandbox
        assert answer.url == facts["url"]
        assert answer.read(3) == b"BZh"
    said = here.replay("--mirror", "http://127.0.0.1:1", "--retries", "0")
    assert said.code == 4
    # No byte has arrived, so there is no part file.
    assert said.err.strip().endswith("connection refused")
    assert here.files() == set()


def test_a_bar_is_shown_on_a_terminal(here: Here) -> None:
    with on_terminal("replay", str(MATCH), "-o", "x", cwd=here.cwd, env=here.env) as terminal:
        terminal.wait_for("a whole replay (bzip2), 1.4 MB")
        assert terminal.ended() == 0
    assert "1.4/1.4 MB" in terminal.text
    assert "━━━━" in terminal.text


async def test_the_bar_tells_speed_and_time_left(here: Here) -> None:
    await here.faults(replay_kb_s=400)
    with on_terminal("replay", str(MATCH), "-o", "x", cwd=here.cwd, env=here.env) as terminal:
        terminal.wait_for("kB/s 00:0")
        terminal.press("\x03")
        terminal.wait_for("the same command continues from there")
        assert terminal.ended() == 130


# -- continuing ------------------------------------------------------------------------------------


async def test_ctrl_c_leaves_a_part_from_which_the_next_goes_on(here: Here, whole: bytes) -> None:
    await here.faults(replay_kb_s=500)
    with here.start("-o", "x", "--extract") as process:
        here.wait_part("x", 200_000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130
    assert err.decode() == (
        "botapi: interrupted; the part so far is kept in x.part; the same command continues from there\n"
    )
    assert here.files() == {"x.part", "x.part.json"}
    start = (here.cwd / "x.part").stat().st_size
    await here.faults(replay_kb_s=None)
    assert here.replay("-o", "x", "--extract").code == 0
    assert (here.cwd / "x").read_bytes() == unpacked(whole)
    assert await here.requests() == [(200, 0), (206, start)]


async def test_a_killed_one_leaves_a_part_too_and_locks_nothing(here: Here, whole: bytes) -> None:
    await here.faults(replay_kb_s=60)
    with here.start("-o", "x") as process:
        here.wait_part("x", 100_000)
        said = here.replay("-o", "x")
        assert (said.code, said.err) == (1, "botapi: another process is downloading x.part\n")
        process.kill()
    await here.faults(replay_kb_s=None)
    assert here.replay("-o", "x").code == 0
    assert (here.cwd / "x").read_bytes() == whole
    assert (await here.requests())[-1][0] == 206


async def test_a_connection_that_breaks_is_followed_by_another(here: Here, whole: bytes) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 2})
    assert here.replay("-o", "x").code == 0
    assert (here.cwd / "x").read_bytes() == whole
    assert await here.requests() == [(200, 0), (206, 500_000), (206, 1_000_000)]


async def test_a_server_without_ranges_begins_anew(here: Here, whole: bytes) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 1}, replay_no_ranges=True)
    assert here.replay("-o", "x", "--extract").code == 0
    assert (here.cwd / "x").read_bytes() == unpacked(whole)
    assert await here.requests() == [(200, 0), (200, 0)]


async def test_a_new_upload_is_not_mixed_with_the_old_one(here: Here) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 1})
    assert here.replay("-o", "x", "--retries", "0").code == 4
    await here.faults(replay_version=2)
    assert here.replay("-o", "x").code == 0
    assert unpacked((here.cwd / "x").read_bytes()).startswith(MAGIC)
    assert await here.requests() == [(200, 0), (200, 0)]  # If-Range did not match


async def test_a_part_of_another_match_is_not_gone_on_with(here: Here) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 1})
    assert here.replay("-o", "x", "--retries", "0").code == 4
    (here.cwd / "x.part.json").write_text(json.dumps({"name": NAME}))  # of a server without ETags
    assert here.replay("-o", "x", match_id=JUST_PLAYED).code == 0
    assert str(JUST_PLAYED).encode() in unpacked((here.cwd / "x").read_bytes())[:64]
    assert await here.requests() == [(200, 0), (200, 0)]


async def test_a_part_that_is_whole_already_is_taken_as_it_is(here: Here, whole: bytes) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 1})
    here.replay("-o", "x", "--retries", "0")
    (here.cwd / "x.part").write_bytes(whole)
    assert here.replay("-o", "x").code == 0
    assert (here.cwd / "x").read_bytes() == whole
    assert [status for status, _ in await here.requests()] == [200, 416]


async def test_a_part_that_is_damaged_is_thrown_away(here: Here, whole: bytes) -> None:
    await here.faults(replay_break_kb={"value": 500, "times": 1})
    here.replay("-o", "x", "--retries", "0")
    (here.cwd / "x.part").write_bytes(whole[:250_000] + bytes(300_000))
    assert here.replay("-o", "x").code == 0
    assert (here.cwd / "x").read_bytes() == whole


# -- errors ----------------------------------------------------------------------------------------


async def test_a_damaged_file_is_fetched_anew_once(here: Here, whole: bytes) -> None:
    await here.faults(replay_corrupt={"times": 1})
    assert here.replay("-o", "x").code == 0
    assert (here.cwd / "x").read_bytes() == whole


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"replay_corrupt": True}, "it is damaged within"),
        ({"replay_truncated": True}, "it ends in the middle"),
        ({"replay_content_of": JUST_PLAYED}, f"it is the replay of match {JUST_PLAYED}"),
    ],
)
async def test_a_file_that_stays_wrong_is_refused(
    here: Here, fault: dict[str, Any], words: str
) -> None:
    await here.faults(**fault)
    said = here.replay("-o", "x", "--extract", "--json")
    assert said.code == 1
    assert words in said.err
    assert json.loads(said.out)["error"] == "bad-replay"
    assert len(await here.requests()) == 2
    assert here.files() == set()


@pytest.mark.parametrize(
    ("match_id", "word", "words"),
    [
        (NOT_RECORDED, "replay-not-recorded", "was not recorded"),
        (EXPIRED, "replay-expired", "replay is deleted"),
        (OLD_FORMAT, "replay-old-format", "older than today's form of replays"),
        (NO_SUCH, "not-found", "match"),
    ],
)
def test_what_can_never_be_had_is_exit_code_3(
    here: Here, match_id: int, word: str, words: str
) -> None:
    said = here.replay("--json", match_id=match_id)
    assert said.code == 3
    assert words in said.err
    assert said.err.count("\n") == 1
    told = json.loads(said.out)
    assert told["error"] == word
    if word == "not-found":  # the GC may know the match later; a deleted replay stays deleted
        assert 0 < told["retry_after"] <= 300
    else:
        assert told["retry_after"] is None


async def test_a_replay_that_names_no_match_is_taken(here: Here) -> None:
    await here.faults(replay_content_of=0)
    assert here.replay("-o", "x").code == 0


async def test_a_match_that_was_just_played_is_to_be_asked_for_again(here: Here) -> None:
    await here.origin.sandbox.hide_replays(JUST_PLAYED)
    said = here.replay("--json", match_id=JUST_PLAYED)
    assert said.code == 4
    assert re.search(r"is not uploaded yet: the match ended 3\d min ago", said.err)
    assert json.loads(said.out)["retry_after"] == 300
    assert here.files() == set()


async def test_a_file_that_is_gone_is_told_by_its_age(here: Here) -> None:
    await here.origin.sandbox.hide_replays(MATCH)
    said = here.replay("-o", "x")
    assert said.code == 3
    assert "is no longer on the server" in said.err
    assert here.files() == set()


async def test_a_server_in_trouble_is_tried_again_then_left(here: Here) -> None:
    await here.faults(replay_status=503)
    said = here.replay("-o", "x", "--retries", "1")
    assert said.code == 4
    assert "the server says 503" in said.err
    assert await here.requests() == [(503, 0), (503, 0)]
    await here.faults(replay_status={"value": 503, "times": 1})
    assert here.replay("-o", "x", "--retries", "1").code == 0


async def test_a_connection_that_falls_silent_is_given_up(
    here: Here, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SILENCE_S", 0.3)
    await here.faults(replay_stall_kb={"value": 500, "times": 1})
    waits: list[float] = []

    class RecordingClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    url = f"{here.origin.sandbox.replay_url}/570/{NAME}"
    with PartFile(here.cwd / "x") as part, Bar("x") as bar:
        fetched = download.Download(
            MATCH, url, part=part, sink=None, watcher=bar, retries=3, clock=RecordingClock()
        )
        await fetched.run(through_proxy=False)
        part.become_target()
    assert (here.cwd / "x").read_bytes() == whole
    assert waits == [1.0]


def test_a_full_disk_is_one_line_and_what_has_come_is_kept(here: Here, whole: bytes) -> None:
    """A limit on file sizes causes the error at the same place as a full disk."""
    limited = ["sh", "-c", 'ulimit -f 1000; exec "$@"', "-", *COMMAND]
    done = subprocess.run(
        [*limited, "replay", str(MATCH), "-o", "x"],
        cwd=here.cwd,
        env=environment(here.env),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("botapi: x.part: File too large; the part so far is kept")
    assert done.stderr.count("\n") == 1
    assert here.replay("-o", "x").code == 0
    assert (here.cwd / "x").read_bytes() == whole


def test_a_directory_that_is_not_there_is_one_line(here: Here) -> None:
    said = here.replay("-o", "nowhere/x")
    assert said.code == 1
    assert said.err == "botapi: nowhere/x.part: No such file or directory\n"


def test_no_service_is_one_line(here: Here) -> None:
    said = botapi("replay", "1", "--url", "127.0.0.1:1", cwd=here.cwd)
    assert (said.code, said.err) == (
        1,
        "botapi: no answer from http://127.0.0.1:1: connection refused\n",
    )
