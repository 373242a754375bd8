"""Which source wins, and what each wrong value is answered with."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace_settings.console import configure_logging
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.flags import names
from rolltrace_settings.load import load, resolve, to_environment
from rolltrace_settings.settings import (
    DECLARATIONS,
    DEFAULTS,
    Service,
    Settings,
    WorkerSetting,
    flag,
    variable,
)

SECRET = "sk-very-secret"


def fail(*argv: str, service: Service = "up", **environ: str) -> str:
    with pytest.raises(SettingsError) as raised:
        resolve(argv, environ, service=service)
    message = str(raised.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def written(folder: Path, text: str) -> str:
    path = folder / "rolltrace.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_flags_over_environment_over_yaml_over_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "port: 1\nproxies: 2\nmodel: from-yaml\n")
    settings = resolve(
        ["--port", "3"],
        {"ROLLTRACE_CONFIG": path, "ROLLTRACE_PORT": "2", "ROLLTRACE_PROXIES": "7"},
        service="up",
    )
    assert (settings.port, settings.proxies, settings.model, settings.host) == (
        3,
        7,
        "from-yaml",
        "127.0.0.1",
    )


def test_the_config_flag_wins_over_its_variable(tmp_path: Path) -> None:
    path = written(tmp_path, "port: 1\n")
    assert resolve(["--config", path], {"ROLLTRACE_CONFIG": "/nowhere"}, service="up").port == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert resolve(["--config", written(tmp_path, text)], {}, service="up") == DEFAULTS


def test_every_setting_is_declared_with_help_and_a_valid_default() -> None:
    for name in (field.name for field in fields(Settings)):
        assert DECLARATIONS[name].help.endswith(".")
    assert resolve([], to_environment(DEFAULTS), service="proxy") == DEFAULTS


WORKERS = [
    WorkerSetting(url="http://a:1"),
    WorkerSetting("https://b:2/x", "m", 2.5, "/openai/v1", SECRET, "sglang"),
]


@given(
    st.builds(
        Settings,
        port=st.integers(0, 65535),
        model=st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=20),
        workers=st.lists(st.sampled_from(WORKERS), unique=True).map(tuple),
        idle_timeout=st.floats(0.01, 3600),
        max_body_size=st.integers(1, 1 << 40),
        log_level=st.sampled_from(["debug", "error"]),
    )
)
def test_what_a_child_is_given_is_what_was_resolved(settings: Settings) -> None:
    assert resolve([], to_environment(settings), service="control") == settings


def test_workers_from_each_source(tmp_path: Path) -> None:
    a, b = WorkerSetting("http://a:1"), WorkerSetting("http://b:2", api_path="/v1")
    assert resolve(["--worker", "http://a:1/", "--worker", "http://b:2/v1"], {}, service="up").workers == (
        a,
        b,
    )
    environ = {"ROLLTRACE_WORKERS": "http://a:1, http://b:2/v1"}
    assert resolve([], environ, service="up").workers == (a, b)
    text = f"""\
workers:
  - http://a:1
  - url: https://b:2/x
    model_name: m
    weight: 2.5
    api_path: /openai/v1/
    api_key: {SECRET}
    engine: sglang
"""
    assert resolve(["--config", written(tmp_path, text)], {}, service="up").workers == tuple(WORKERS)


def test_a_key_is_not_shown() -> None:
    assert SECRET not in repr(Settings(workers=tuple(WORKERS)))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--prot", "1"], "--prot: no such flag; did you mean --port?"),
        (["--frob"], "--frob: no such flag"),
        (["--proxies"], "argument --proxies: expected one argument (see --help)"),
        (["up"], "'up' is not understood; every argument is a flag (see --help)"),
        (["--port", "x"], "--port: 'x' is not a whole number"),
        (["--port=70000"], "--port: '70000' is too large; at most 65535"),
        (["--proxies=0"], "--proxies: '0' is too small; at least 1"),
        (["--idle-timeout=0"], "--idle-timeout: '0' is too small; at least 0.01s"),
        (["--max-header-size=1"], "--max-header-size: '1' is too small; at least 1KiB"),
        (
            ["--max-body-size=1XB"],
            "--max-body-size: '1XB' is not a size; write bytes, or 64KiB, 64MiB, 1GB",
        ),
        (
            ["--log-level=inf"],
            "--log-level: 'inf' is not one of debug, info, warning, error; did you mean info?",
        ),
        (["--host="], "--host: is empty"),
        (["--worker", "a:1"], "--worker: 'a:1' is not a URL; write http://host:port"),
        (["--worker=http://a", "--worker=http://a/"], "--worker: http://a is given twice"),
        (
            [f"--worker=http://me:{SECRET}@a"],
            "--worker: the URL holds a password; give it as the api_key of the worker",
        ),
        (
            [f"--worker=http://a?key={SECRET}"],
            "--worker: 'http://a' has a query or a fragment, which is not understood here; "
            "write http://host:port",
        ),
    ],
)
def test_wrong_flags(argv: list[str], message: str) -> None:
    assert fail(*argv) == message


def test_a_setting_of_another_service() -> None:
    assert fail("--proxies", "2", service="proxy") == (
        "--proxies: is a setting of rolltrace up, not of rolltrace-proxy"
    )


def test_wrong_variables() -> None:
    assert fail(ROLLTRACE_PRT="1") == "ROLLTRACE_PRT: no such setting; did you mean ROLLTRACE_PORT?"
    assert fail(ROLLTRACE_PORT="x") == "ROLLTRACE_PORT: 'x' is not a whole number"
    assert fail(ROLLTRACE_WORKERS=f"[{SECRET}") == "ROLLTRACE_WORKERS: begins like a JSON list, but is none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 1", ":1: prot: no such setting; did you mean port?"),
        ("\nport: true", ":2: port: true is not a number"),
        ("port: [1]", ":1: port: is a list or a mapping; a single value is expected"),
        ("port:", ":1: port: nothing is not a number"),
        ("model: 7", ":1: model: 7 is not text; put it in quotes"),
        ("port: 1\nport: 2", ":2: port: is given twice"),
        ("port: 2026-99-99", ":1: port: is no value that YAML knows; put it in quotes"),
        ("- a", ":1: is not a mapping of settings; write e.g. port: 9090"),
        ("a: b: c", ":1: is not YAML: mapping values are not allowed here"),
        ("a: \x01", ": is not YAML: it holds a character that is not allowed"),
        (
            "workers: http://a",
            ":1: workers: is not a list; write one '- url: http://host:port' a worker",
        ),
        ("workers:\n- weight: 1", ":2: workers: a worker has no url"),
        (
            f"workers:\n- url: http://a\n  api_kee: {SECRET}",
            ":3: workers: api_kee: no such field; did you mean api_key?",
        ),
        ("workers: &w\n- *w", ":1: workers: is a list or a mapping; a single value is expected"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    assert fail("--config", path) == path + message


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (f"api_key: [{SECRET}]", "api_key: is a list or a mapping; a single value is expected"),
        ("api_key: 123456", "api_key: the value is not text; put it in quotes"),
        ("weight: 0", "weight: 0 is not a number above 0, at most 1000"),
        ("weight: .nan", "weight: nan is not a number above 0, at most 1000"),
        ("engine: vlm", "engine: 'vlm' is not one of vllm, sglang, llamacpp, openai; did you mean vllm?"),
        ("api_path: v1", "api_path: 'v1' does not begin with a slash"),
    ],
)
def test_wrong_fields_of_a_worker(tmp_path: Path, field: str, message: str) -> None:
    path = written(tmp_path, f"workers:\n- url: http://a\n  {field}")
    assert fail("--config", path) == f"{path}:3: workers: {message}"


def test_unreadable_files(tmp_path: Path) -> None:
    assert fail("--config", str(tmp_path / "none")).endswith(
        "none: cannot be read: No such file or directory"
    )
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\xff")
    assert fail("--config", str(binary)).endswith("binary: is not text in UTF-8")


def test_an_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        load(["--port", "x"], service="proxy")
    assert raised.value.code == 2
    assert capsys.readouterr() == ("", "rolltrace-proxy: --port: 'x' is not a whole number\n")


@pytest.mark.parametrize("service", ["proxy", "control", "up"])
def test_help_shows_every_setting_of_the_service(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load(["--help"], service=service)
    shown = capsys.readouterr().out
    for name in names(service):
        assert flag(name) in shown
        assert f"[{variable(name)}]" in shown


def test_up_takes_every_setting() -> None:
    assert names("up") == [name for name, declaration in DECLARATIONS.items() if not declaration.secret]


def test_a_log_record_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging("warning")
        logging.getLogger("rolltrace.test").warning("worker %s is gone", "w1")
        logging.getLogger("rolltrace.test").info("unheard")
    finally:
        root.handlers[:], root.level = before, level
    line = capsys.readouterr().err
    assert line.endswith("Z WARNING rolltrace.test: worker w1 is gone\n")
    assert line.count("\n") == 1
