"""Sources of settings, their precedence, and error messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.app.load_settings import load
from supervisor.config.errors import ConfigError
from supervisor.config.model import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory and an environment without BotAPI variables."""
    for name in list(os.environ):
        if name.upper().startswith("BOTAPI_") or name in {"REDISTOGO_URL", "PORT"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> Path:
    path = Path("config.toml")
    path.write_text(text, encoding="utf-8")
    return path


def refusal(text: str | None = None) -> str:
    if text is not None:
        write(text)
    with pytest.raises(ConfigError) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_without_a_file_the_defaults_hold() -> None:
    loaded = load()
    assert loaded.settings == Settings()
    assert loaded.file is None
    assert {row[3] for row in loaded.rows()} == {"default"}


def test_the_file_beside_us_is_read() -> None:
    write("[bots]\ncount = 7\n")
    loaded = load()
    assert loaded.settings.bots.count == 7
    assert loaded.sources["bots.count"] == "config.toml"


def test_later_sources_win(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[http]\nport = 1\nqueue = 1\ndeadline = 40\n")
    monkeypatch.setenv("BOTAPI_HTTP__PORT", "2")
    monkeypatch.setenv("BOTAPI_HTTP__QUEUE", "2")
    monkeypatch.setenv("PORT", "3")
    loaded = load()
    http = loaded.settings.http
    assert (http.deadline, http.queue, http.port) == (40, 2, 3)
    assert [loaded.sources[f"http.{key}"] for key in ("deadline", "queue", "port")] == [
        "config.toml",
        "BOTAPI_HTTP__QUEUE",
        "PORT",
    ]


def test_the_seeds_redis_variable_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTOGO_URL", "redis://172.17.0.1:6379/0")
    assert load().settings.redis.url.get_secret_value() == "redis://172.17.0.1:6379/0"


def test_an_empty_seed_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTOGO_URL", "")
    monkeypatch.setenv("PORT", "")
    assert load().settings == Settings()


def test_an_empty_text_means_none() -> None:
    write('[steam]\ndirectory_url = ""\nca_file = ""\n')
    assert load().settings.steam.ca_file is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[bots]\ncount = "five"',
            'config.toml: bots.count must be a whole number from 1 to 1000, not "five"',
        ),
        (
            '[bots]\ncount = "5"',
            'config.toml: bots.count must be a whole number from 1 to 1000, not "5"',
        ),
        (
            "[bots]\ncount = 0",
            "config.toml: bots.count must be a whole number from 1 to 1000, not 0",
        ),
        (
            "[bots]\ncount = true",
            "config.toml: bots.count must be a whole number from 1 to 1000, not true",
        ),
        (
            "[http]\ndeadline = nan",
            "config.toml: http.deadline must be a number of seconds from 0.1 to 3600, not NaN",
        ),
        (
            '[steam]\nnetwork = "dev"',
            'config.toml: steam.network must be one of "live", "sandbox", not "dev"',
        ),
        (
            "[redis]\ndata_dir = 5",
            "config.toml: redis.data_dir must be the path of a directory, not 5",
        ),
        ("[bots]\ncuont = 5", "config.toml: unknown key bots.cuont; did you mean bots.count?"),
        ("[bots]\nport = 5", "config.toml: unknown key bots.port; did you mean http.port?"),
        (
            "[log]\nzzz = 5",
            "config.toml: unknown key log.zzz; [log] has level, format",
        ),
        ("[bot]\ncount = 5", "config.toml: unknown section [bot]; did you mean [bots]?"),
        (
            "count = 5",
            "config.toml: count is outside of any section; did you mean bots.count?",
        ),
        ("bots = 5", "config.toml: bots must be a section: [bots]"),
        (
            "[bots]\nrequest_timeout = 20\n[http]\ndeadline = 10",
            "config.toml: bots.request_timeout (20) must be at most http.deadline (10)",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_clear_line(text: str, line: str) -> None:
    assert refusal(text) == line


def test_a_value_too_long_to_read_is_cut() -> None:
    assert refusal(f'[bots]\ncount = "{"x" * 500}"').endswith("xxx...")


def test_broken_toml_names_the_line() -> None:
    line = refusal("[bots]\ncount = 5\ncount = = 3\n")
    assert line.startswith("config.toml: is not valid TOML")
    assert "line 3" in line


def test_a_file_that_is_not_text_is_refused() -> None:
    Path("config.toml").write_bytes(b"\xff\xfe\x00")
    assert refusal() == "config.toml: is not UTF-8 text"


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"^elsewhere.toml: there is no such file$"):
        load(Path("elsewhere.toml"))


def test_a_directory_is_not_a_file() -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        load(Path())


def test_an_unreadable_file_is_refused() -> None:
    Path("config.toml").symlink_to("/proc/self/mem")  # not even root can read its first byte
    assert refusal() == "config.toml: cannot be read: Input/output error"


def test_a_file_that_a_setting_names_must_be_readable() -> None:
    line = refusal('[steam]\nca_file = "ca.pem"')
    assert line == 'config.toml: steam.ca_file ("ca.pem") cannot be read: No such file or directory'


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "BOTAPI_BOTS__COUNT",
            "five",
            'BOTAPI_BOTS__COUNT: bots.count must be a whole number from 1 to 1000, not "five"',
        ),
        ("PORT", "x", 'PORT: http.port must be a whole number from 0 to 65535, not "x"'),
        (
            "BOTAPI_BOTS_COUNT",
            "5",
            "environment: unknown setting BOTAPI_BOTS_COUNT; did you mean BOTAPI_BOTS__COUNT?",
        ),
        (
            "BOTAPI_ZZZ",
            "5",
            "environment: unknown setting BOTAPI_ZZZ; the names are BOTAPI_SECTION__KEY",
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)
    assert refusal() == line


def test_a_broken_relation_names_both_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTAPI_HTTP__DEADLINE", "5")
    line = refusal("[bots]\nrequest_timeout = 6")
    assert line.startswith("config.toml, BOTAPI_HTTP__DEADLINE: bots.request_timeout (6)")


def test_a_variable_can_mend_a_relation_that_the_file_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("[http]\ndeadline = 5")
    monkeypatch.setenv("BOTAPI_BOTS__REQUEST_TIMEOUT", "5")
    assert load().settings.bots.request_timeout == 5


@pytest.mark.parametrize("url", ["redis://u:hunter2@h:x/0", "redis//u:hunter2@h", "hunter2"])
def test_a_refused_redis_url_is_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDISTOGO_URL", url)
    assert "hunter2" not in refusal()


def url_problem(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("REDISTOGO_URL", url)
    line = refusal()
    assert line.startswith("REDISTOGO_URL: redis.url ")
    return line.removeprefix("REDISTOGO_URL: redis.url ")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        *(
            (f"redis://h/{path}", "number of a database")
            for path in ("abc", "0/1", "-1", "1.5", "%31")
        ),
        ("redis://h/0?family=0", "'family' that is not known"),
        ("redis://h/0?decode_responses=no", "'decode_responses' that is not known"),
        ("redis://h?timeout=5s", "'timeout' that cannot be used"),
        ("redis://h?db=one", "'db' that cannot be used"),
        ("redis://h?db=-1", "'db' that is out of range"),
        ("redis://h?db=1&db=2", "one value for 'db'"),
        ("redis://h/1?db=2", "one value for 'db'"),
        ("redis://h?db=", "one value for 'db'"),
        *((f"redis://h?socket_timeout={one}", "out of range") for one in ("0", "-1", "nan", "inf")),
        ("redis://h?protocol=4", "cannot be used"),
        ("redis://h?retry_on_timeout=1&ssl_ca_certs=/x", "'ssl_ca_certs' that cannot be used"),
        ("rediss://h?ssl_ca_certs=/there-is-none", "No such file"),
        ("rediss://h?ssl_cert_reqs=perhaps", "cannot be used"),
        ("unix:///run/valkey.sock?db=one", "'db' that cannot be used"),
        ("redis://u:1?hunter2@h", "percent-encoded"),
    ],
)
def test_a_redis_url_is_checked_by_making_the_client(
    monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    line = url_problem(url, monkeypatch)
    assert problem in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "redis://h:6379/12", "redis://u:p%40ss@[::1]:6379/0"),
        *("redis://h?db=3&client_name=botapi", "redis://h/0?socket_timeout=2.5&max_connections=20"),
        *("rediss://h/0?ssl_cert_reqs=none", "unix:///run/valkey.sock?db=1&password=x"),
    ],
)
def test_a_redis_url_with_options_that_the_client_knows_is_taken(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REDISTOGO_URL", url)
    assert load().settings.redis.url.get_secret_value() == url


@pytest.mark.parametrize("name", ["REDIS_URL", "REDIS_TLS_URL", "REDISCLOUD_URL", "VALKEY_URL"])
def test_a_variable_that_is_not_read_is_named_where_no_setting_names_a_redis(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "redis://u:hunter2@h")
    loaded = load()
    assert loaded.settings.redis.is_embedded
    (note,) = loaded.notes()
    assert note.startswith(f"{name} is set, but not read")
    assert "hunter2" not in note
    monkeypatch.setenv("REDISTOGO_URL", "redis://h")
    assert load().notes() == []


def test_a_refusal_carries_no_chained_error_with_the_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDISTOGO_URL", "http://u:hunter2@h")
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    assert caught.value.key == "redis.url"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOTAPI_PORT", "tcp://10.0.0.1:5000"),
        ("BOTAPI_PORT_5000_TCP_ADDR", "10.0.0.1"),
        ("BOTAPI_SERVICE_HOST", "10.0.0.1"),
        ("BOTAPI_SERVICE_PORT_HTTP", "5000"),
    ],
)
def test_what_kubernetes_sets_for_a_service_named_botapi_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load().settings == Settings()


def test_a_port_meant_for_us_but_misnamed_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTAPI_PORT", "5000")
    assert "did you mean BOTAPI_HTTP__PORT?" in refusal()
