"""Completion, help and version of every command, without slow imports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import botapi, environment

pytestmark = pytest.mark.integration

HEAVY = ("gevent", "steam", "dota2", "redis", "aiohttp", "google.protobuf", "rich.live")
BASH = shutil.which("bash")


def completed(line: str, cwd: Path) -> list[str]:
    """Return the completions of `line`."""
    words = line.split(" ")
    asked = {
        "_BOTAPI_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    program = "from supervisor.cli.main import app; app(prog_name='botapi')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env=environment(asked),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("botapi st", ["status"]),
        ("botapi accounts re", ["release", "reset", "remove"]),
        ("botapi accounts list --j", ["--json"]),
        ("botapi config ", ["check", "show"]),
        ("botapi sandbox --quota", ["--quota-account", "--quota-ip", "--quota-cards"]),
        ("botapi replay --ex", ["--extract"]),
        ("botapi run --sand", ["--sandbox"]),
    ],
)
def test_everything_is_offered(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert completed(line, tmp_path) == offered


@pytest.mark.skipif(BASH is None, reason="no bash here")
def test_bash_takes_the_script(tmp_path: Path) -> None:
    """Bash reads the script and completes a line."""
    script = """
        eval "$(botapi --show-completion)"
        COMP_WORDS=(botapi accounts re); COMP_CWORD=2
        _botapi_completion botapi re accounts
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        [str(BASH), "--norc", "-c", script],
        cwd=tmp_path,
        env={**environment(), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("release reset remove\n", "")


@pytest.mark.skipif(BASH is None, reason="no bash here")
def test_installing_writes_what_the_shell_reads(tmp_path: Path) -> None:
    """Typer looks for the shell among the parent processes, so bash must not exec the command."""
    done = subprocess.run(
        [str(BASH), "--norc", "-c", "botapi --install-completion; exit $?"],
        cwd=tmp_path,
        env={
            **environment({"HOME": str(tmp_path)}),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "botapi" in (tmp_path / ".bashrc").read_text()


def test_help_names_every_command(tmp_path: Path) -> None:
    names = {
        "run",
        "match",
        "replay",
        "status",
        "accounts",
        "bots",
        "fleet",
        "keys",
        "config",
        "sandbox",
        "version",
    }
    lines = botapi("--help", cwd=tmp_path).out.partition("Commands:\n")[2].splitlines()
    assert {line.split()[0] for line in lines} == names
    assert not [line for line in lines if line.endswith("...")]  # not shortened
    for group, name in (("accounts", "release"), ("config", "check"), ("sandbox", "--replay-mb")):
        assert name in botapi(group, "--help", cwd=tmp_path).out
    assert "--extract" in botapi("replay", "--help", cwd=tmp_path).out


@pytest.mark.parametrize("words", [["--help"], ["replay", "--help"], ["sandbox", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\n"
        "from supervisor.cli.main import main\n"
        "try:\n"
        f"    main({words!r})\n"
        "except SystemExit as done:\n"
        "    assert done.code == 0, done.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_group_without_a_command_shows_its_help(tmp_path: Path) -> None:
    said = botapi("accounts", cwd=tmp_path)
    assert said.code == 2
    assert "release" in said.out + said.err
    assert botapi("accounts", "nothing", cwd=tmp_path).code == 2


def test_the_version_and_the_check_speak_json_too(tmp_path: Path) -> None:
    told = json.loads(botapi("version", "--json", cwd=tmp_path).out)
    assert botapi("version", cwd=tmp_path).out == f"botapi {told['version']}\n"
    assert botapi("--version", cwd=tmp_path).out == f"botapi {told['version']}\n"
    said = botapi("config", "check", "--json", cwd=tmp_path)
    assert (said.code, json.loads(said.out)) == (0, {"ok": True, "file": None})
    (tmp_path / "config.toml").write_text("[bots]\ncount = 0\n")
    said = botapi("config", "check", "--json", cwd=tmp_path)
    assert said.code == 2
    told = json.loads(said.out)
    assert (told["ok"], told["source"], told["key"]) == (False, "config.toml", "bots.count")
    assert "0" in told["error"]
