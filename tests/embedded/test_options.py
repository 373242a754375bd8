"""A Gateway's keywords: every setting, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

import rolltrace
from rolltrace_client import services
from rolltrace_embedded.options import WorkerLike, settings_of
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import WorkerSetting


def test_what_is_not_said_is_as_a_trainer_wants_it() -> None:
    settings = settings_of([], "/db", {}, temporary=True)
    assert (settings.port, settings.control_port, settings.host) == (0, 0, "127.0.0.1")
    assert (settings.db_path, settings.log_level, settings.durability) == ("/db", "warning", "process")
    assert settings_of([], "/db", {}, temporary=False).durability == "power"


def test_what_is_said_is_taken_and_the_environment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLTRACE_PORT", "9090")
    said = {"durability": "power", "drain_timeout": "2s", "max_body_size": 1 << 20, "log_level": "info"}
    settings = settings_of([], "/db", said, temporary=True)
    assert (settings.port, settings.durability, settings.drain_timeout) == (0, "power", 2.0)
    assert (settings.max_body_size, settings.log_level) == (1 << 20, "info")


def test_paths_are_paths() -> None:
    said = {"auth": "token", "admin_token_file": Path("/nowhere")}
    with pytest.raises(SettingsError, match="/nowhere: cannot be read"):
        settings_of([], "/db", said, temporary=True)


def test_workers_in_every_form() -> None:
    given: list[WorkerLike] = [
        "http://a:1/v1",
        {"url": "http://b:2", "weight": 2, "engine": "sglang"},
        WorkerSetting("http://c:3", model_name="m"),
    ]
    assert settings_of(given, "/db", {}, temporary=True).workers == (
        WorkerSetting("http://a:1", api_path="/v1"),
        WorkerSetting("http://b:2", weight=2.0, engine="sglang"),
        WorkerSetting("http://c:3", model_name="m"),
    )


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ("http://a:1", r"workers: is a list of URLs; write workers=\['http://a:1'\]"),
        (["a:1"], "Gateway: workers: 'a:1'"),
        ([{"uri": "http://a:1"}], "uri: no such field; did you mean url"),
    ],
)
def test_a_wrong_worker_is_named(workers: list[WorkerLike], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings_of(workers, "/db", {}, temporary=True)


def test_a_wrong_keyword_names_the_nearest() -> None:
    with pytest.raises(
        TypeError, match=r"^Gateway: drain_timout: no such setting; did you mean drain_timeout\?$"
    ):
        rolltrace.Gateway(drain_timout=3)
    with pytest.raises(SettingsError, match=r"^Gateway: max_calls: 'many'"):
        rolltrace.Gateway(max_calls="many")
    with pytest.raises(
        SettingsError, match=r"^Gateway: host: whoever reaches 0\.0\.0\.0 could use the gateway"
    ):
        rolltrace.Gateway(host="0.0.0.0")


def test_what_belongs_to_a_handler_needs_one() -> None:
    with pytest.raises(TypeError, match="there is none"):
        rolltrace.Gateway(model_name="m")
    with pytest.raises(TypeError, match="str is no function"):
        rolltrace.Gateway(handler="m")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SERVER_MODULES", ("no_such_module",))
    with pytest.raises(
        rolltrace.GatewayError, match=r"\(no no_such_module\): pip install 'rolltrace\[server\]'"
    ):
        rolltrace.Gateway()


def test_before_its_start_it_has_no_address() -> None:
    gateway = rolltrace.Gateway()
    for name in ("url", "target", "db_path", "client"):
        with pytest.raises(RuntimeError, match="not up: use `with`"):
            getattr(gateway, name)
    gateway.close()
    with pytest.raises(RuntimeError, match="started once"):
        gateway.start()
