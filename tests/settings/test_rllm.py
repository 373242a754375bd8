"""What rLLM's gateway is given starts Rolltrace too: its flags, its variables, its YAML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolltrace_settings import rllm
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.load import load, resolve
from rolltrace_settings.settings import Settings, WorkerSetting

README = """\
host: "0.0.0.0"
port: 9090
db_path: "~/.rllm/gateway.db"

workers:
  - url: "http://vllm-0:8000/v1"
    model_name: "Qwen/Qwen2.5-7B-Instruct"
  - url: "http://vllm-1:8000/v1"
    model_name: "Qwen/Qwen2.5-7B-Instruct"
"""
"""The file of its README."""

DUMPED = """\
add_logprobs: true
add_return_token_ids: true
db_path: null
health_check_interval: 10.0
host: 127.0.0.1
log_level: INFO
port: 9090
routing_policy: null
store_worker: sqlite
strip_vllm_fields: true
sync_traces: false
workers:
- api_path: /v1
  model_name: null
  url: http://vllm-0:8000
  weight: 1
  worker_id: ''
"""
"""yaml.dump(GatewayConfig(...).model_dump()) of its 0.1.0."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def understood(*argv: str, **environ: str) -> tuple[Settings, list[str]]:
    """The settings of `rolltrace up`, and the hints."""
    hints: list[str] = []
    return resolve(argv, environ, service="up", hint=hints.append), hints


def fail(*argv: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as raised:
        understood(*argv, **environ)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def written(folder: Path, text: str) -> str:
    path = folder / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_its_flags(folder: Path) -> None:
    argv = ["--port", "9090", "--host", "localhost", "--db-path", str(folder / "traces.db")]
    argv += ["--worker", "http://vllm-0:8000/v1", "--worker", "http://vllm-1:8000/v1", "--log-level", "INFO"]
    settings, hints = understood(*argv)
    assert hints == []
    assert (settings.port, settings.host, settings.log_level) == (9090, "localhost", "info")
    assert settings.db_path == str(folder / "traces.db")
    assert [worker.url for worker in settings.workers] == ["http://vllm-0:8000", "http://vllm-1:8000"]
    assert {worker.api_path for worker in settings.workers} == {"/v1"}


@pytest.mark.parametrize(("store", "says"), [("sqlite", "rolltrace import FILE"), ("memory", "outlives")])
def test_its_store_is_answered_with_a_hint(folder: Path, store: str, says: str) -> None:
    for given in (
        understood("--store", store)[1],
        understood("--config", written(folder, f"store_worker: {store}"))[1],
        understood(RLLM_GATEWAY_STORE=store)[1],
    ):
        (hint,) = given
        assert "does nothing: the store is LMDB" in hint
        assert says in hint
    assert fail("--store", "redis").startswith("--store: there is one store, LMDB in the folder db_path")


def test_the_file_of_its_readme_needs_a_word_on_who_may_come_in(folder: Path) -> None:
    path = written(folder, README)
    said = fail("--config", path)
    assert said.startswith(f"{path}:1: host: whoever reaches 0.0.0.0 could use the gateway: ")
    assert "--insecure" in said
    settings, hints = understood("--config", written(folder, README + "insecure: true\n"))
    assert hints == []
    assert (settings.host, settings.port) == ("0.0.0.0", 9090)
    assert settings.db_path == str(folder / ".rllm" / "gateway.db")
    model = "Qwen/Qwen2.5-7B-Instruct"
    assert settings.workers == (
        WorkerSetting("http://vllm-0:8000", model, api_path="/v1"),
        WorkerSetting("http://vllm-1:8000", model, api_path="/v1"),
    )


def test_every_key_of_its_configuration_is_understood(folder: Path) -> None:
    path = written(folder, DUMPED)
    settings, hints = understood("--config", path)
    assert settings == Settings(
        health_interval=10.0, workers=(WorkerSetting("http://vllm-0:8000", api_path="/v1"),)
    )
    assert [hint.removeprefix(f"{path}:").split(": ")[1] for hint in hints] == [
        "add_logprobs",
        "add_return_token_ids",
        "health_check_interval",
        "store_worker",
        "strip_vllm_fields",
        "sync_traces",
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("add_logprobs: false", "log-probabilities are always asked for"),
        ("add_return_token_ids: false", "token ids are always asked for"),
        ("strip_vllm_fields: false", "let it send return_token_ids"),
        ("routing_policy: my_pkg.CacheAwarePolicy", "no class is loaded to choose workers"),
        ("sync_traces: maybe", "is neither true nor false"),
        ("health_check_interval: soon", "'soon' is not a duration"),
        ("store_worker: [a]", "a single value is expected"),
        ("store_wrker: sqlite", "no such setting"),
    ],
)
def test_what_is_not_to_be_had_says_why(folder: Path, line: str, says: str) -> None:
    path = written(folder, f"port: 1\n{line}\n")
    said = fail("--config", path)
    assert said.startswith(f"{path}:2: {line.split(':')[0]}: ")
    assert says in said


def test_its_variables_are_understood_below_ours_and_above_the_file(folder: Path) -> None:
    theirs = {
        "RLLM_GATEWAY_HOST": "localhost",
        "RLLM_GATEWAY_PORT": "7000",
        "RLLM_GATEWAY_DB_PATH": "~/theirs",
        "RLLM_GATEWAY_LOG_LEVEL": "WARNING",
    }
    path = written(folder, "port: 1\nlog_level: debug\nproxies: 2\n")
    settings, hints = understood("--config", path, **theirs)
    assert (settings.host, settings.port, settings.log_level) == ("localhost", 7000, "warning")
    assert (settings.db_path, settings.proxies) == (str(folder / "theirs"), 2)
    assert hints == [
        "RLLM_GATEWAY_HOST: is understood; here it is ROLLTRACE_HOST",
        "RLLM_GATEWAY_PORT: is understood; here it is ROLLTRACE_PORT",
        "RLLM_GATEWAY_DB_PATH: is understood; here it is ROLLTRACE_DB_PATH",
        "RLLM_GATEWAY_LOG_LEVEL: is understood; here it is ROLLTRACE_LOG_LEVEL",
    ]
    assert understood(ROLLTRACE_PORT="2", **theirs)[0].port == 2
    assert understood("--port", "3", **theirs)[0].port == 3
    assert fail(RLLM_GATEWAY_PORT="x") == "RLLM_GATEWAY_PORT: 'x' is not a whole number"
    assert set(rllm.VARIABLES) == {*theirs, "RLLM_GATEWAY_STORE"}


def test_our_name_wins_over_theirs_in_one_file(folder: Path) -> None:
    text = "health_check_interval: 10\nhealth_interval: 3\n"
    assert understood("--config", written(folder, text))[0].health_interval == 3.0


def test_a_hint_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    load(["--store", "memory"], service="up")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("rolltrace up: --store: does nothing: ")
    assert shown.err.count("\n") == 1


def test_its_database_is_no_place_for_ours(folder: Path) -> None:
    theirs = folder / "traces.db"
    theirs.write_bytes(b"SQLite format 3\0" + bytes(84))
    said = fail("--db-path", str(theirs))
    assert said.startswith(
        f"--db-path: {theirs} is a database of SQLite: 'rolltrace import {theirs}' brings "
    )
    assert fail(RLLM_GATEWAY_DB_PATH="~/traces.db").startswith("RLLM_GATEWAY_DB_PATH: ")
    other = folder / "notes.txt"
    other.write_text("notes")
    assert fail("--db-path", str(other)).startswith(f"--db-path: {other} is a file: give a folder")


def test_every_path_may_begin_at_home(folder: Path) -> None:
    (folder / "token").write_text("a-token-of-the-tests")
    path = written(folder, "workers:\n- url: https://a\n  ca_file: ~/ca.pem\n")
    settings, _ = understood(
        *("--config", path.replace(str(folder), "~")),
        *("--auth", "token", "--admin-token-file", "~/token"),
        *("--tls-cert-file", "~/c", "--tls-key-file", "~/k", "--tls-client-ca-file", "~/a"),
    )
    assert settings.workers[0].ca_file == str(folder / "ca.pem")
    assert settings.admin_token_file == str(folder / "token")
    assert (settings.tls_cert_file, settings.tls_key_file) == (str(folder / "c"), str(folder / "k"))
    assert settings.tls_client_ca_file == str(folder / "a")


def test_a_worker_may_be_named(folder: Path) -> None:
    text = "workers:\n- url: http://a\n  worker_id: one\n"
    assert understood("--config", written(folder, text))[0].workers[0].worker_id == "one"
    again = text + "- url: http://b\n  worker_id: one\n"
    assert fail("--config", written(folder, again)).endswith("workers: one is given twice")
    bad = text.replace("one", "'a b'")
    assert fail("--config", written(folder, bad)).endswith("'a b' is not 1 to 128 of [A-Za-z0-9._:-]")
