"""The files around the code say the same as the code."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.accounts.encryption import parse_keys
from supervisor import __version__
from supervisor.config.model import Settings, fields

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-build.lock")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return table


def names(requirements: list[str]) -> set[str]:
    """The packages that requirement lines name, without versions and extras, normalised (PEP 503)."""
    found = (re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def locked(name: str) -> set[str]:
    return names([line for line in read(name).splitlines() if line and line[0].isalpha()])


def test_config_toml_says_the_defaults() -> None:
    assert Settings.model_validate(tomllib.loads(read("config.toml"))) == Settings()


def test_config_toml_has_every_key_in_the_models_order() -> None:
    written = tomllib.loads(read("config.toml"))
    assert [(section, key) for section in written for key in written[section]] == [
        (section, key) for section, key, _ in fields()
    ]


def test_every_setting_in_config_toml_follows_a_comment() -> None:
    text = read("config.toml")
    shares_a_comment = {"backoff_max", "period"}  # explained together with the line above
    for _, key, _ in fields():
        if key not in shares_a_comment:
            assert re.search(rf"^#.*\n{key} = ", text, re.MULTILINE), key


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_and_hash_everything_and_name_no_address(name: str) -> None:
    text = read(name)
    assert not re.search(r"https?://|--index-url|--find-links|/(home|root|tmp|work)\b", text)
    blocks = re.findall(r"^[a-z][^\n]*(?:\n[ \t]+[^\n]*)*", text, re.MULTILINE)
    assert len(blocks) == len(locked(name))
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+==\S+", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_locks_cover_what_the_project_asks_for() -> None:
    runtime = names(project()["dependencies"])
    tests = names(project()["optional-dependencies"]["test"])
    assert runtime <= locked("requirements.lock")
    assert runtime | tests <= locked("requirements-test.lock")
    # setuptools builds dota2 and steam, which have no wheels
    assert {"hatchling", "setuptools"} <= locked("requirements-build.lock")


def test_the_locks_agree_with_each_other() -> None:
    pins: dict[str, str] = {}
    for name in LOCKS:
        for package, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", read(name), re.MULTILINE):
            assert pins.setdefault(package, version) == version, package


def test_every_dependency_is_defended() -> None:
    defended = set(
        re.findall(r"^\| `([^`]+)`", read("docs/decisions/0001-dependencies.md"), re.MULTILINE)
    )
    tests = names(project()["optional-dependencies"]["test"])
    assert defended == names(project()["dependencies"]) | tests


def test_the_image_starts_the_command_itself_as_an_ordinary_user() -> None:
    """Exec form: a shell in between would swallow SIGTERM."""
    final_stage = read("Dockerfile").rpartition("\nFROM ")[2]
    assert '\nENTRYPOINT ["botapi"]\n' in final_stage
    assert "\nSTOPSIGNAL SIGTERM\n" in final_stage
    user = re.search(r"^USER (\d+)$", final_stage, re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0
    assert "HEALTHCHECK" in final_stage


def test_the_build_context_holds_all_that_the_image_copies() -> None:
    kept = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied: set[str] = set()
    for arguments in re.findall(r"^COPY (?!--from)(.+) \S+$", read("Dockerfile"), re.MULTILINE):
        copied.update(arguments.split())
    assert copied == kept


def test_an_unknown_user_may_write_to_the_images_data_directory() -> None:
    """Docker and OpenShift put one into group 0."""
    assert "install -d -o botapi -g 0 -m 0770 /var/lib/botapi" in read("Dockerfile")


def test_compose_gives_the_service_settings_to_edit_and_a_key_to_seal_with() -> None:
    services = yaml.safe_load(read("deploy/compose.yaml"))["services"]
    service, maker = services["botapi"], services["sealing-key"]
    mounts = dict(one.split(":")[:2] for one in service["volumes"])
    assert mounts == {"botapi": "/var/lib/botapi", "./config": "/etc/botapi"}
    assert maker["volumes"] == ["botapi:/var/lib/botapi"]
    assert service["environment"]["BOTAPI_SECRET_KEY_FILE"] == "/var/lib/botapi/sealing-key"
    assert "BOTAPI_CONFIG=/etc/botapi/config.toml" in read("Dockerfile")
    Settings.model_validate(tomllib.loads(read("deploy/config/config.toml")))
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_key_that_compose_makes_is_made_once_and_private(tmp_path: Path) -> None:
    maker = yaml.safe_load(read("deploy/compose.yaml"))["services"]["sealing-key"]
    found = set()
    for _ in range(2):
        subprocess.run([*maker["entrypoint"], *maker["command"]], cwd=tmp_path, check=True)
        (file,) = tmp_path.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        found.add(file.read_text())
    (text,) = found
    assert len(parse_keys(text)) == 1


def test_every_make_target_named_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)`?", read("README.md"))) <= targets


def test_the_readmes_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", read("README.md"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
