"""Flags without a group mean `rolltrace up`."""

from __future__ import annotations

import pytest

from rolltrace_client import __main__ as command
from rolltrace_client.groupless import PLAIN, SHARED, VALUED, means_up
from rolltrace_settings.flags import parser


@pytest.mark.parametrize(
    "line",
    [
        "--port 9090 --worker http://localhost:8000/v1",
        "--config gateway.yaml",
        "--host 0.0.0.0 --db-path ./traces.db --store sqlite --log-level INFO",
        "--port=9090",
        "--port 9090 --help",
        "--tls-cert-file a --tls-key-file b --port 1",
        "--tls-cert-file a --tls-key-file b",
        "--prot 1",
    ],
)
def test_these_mean_up(line: str) -> None:
    assert means_up(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "-h",
        "--version",
        "up --port 1",
        "sessions list",
        "--control a:1 sessions list",
        "--control=a:1 --json sessions list --limit 3",
        "--tls-cert-file a --tls-key-file b status",
        "--token-file --port status",
        "--control a:1",
        "--control",
        "nonsense --port 1",
    ],
)
def test_these_do_not(line: str) -> None:
    assert not means_up(line.split())


def test_the_flags_are_those_of_the_parsers() -> None:
    actions = command._parser()._actions  # pyright: ignore[reportPrivateUsage]
    takes = {name: action.nargs != 0 for action in actions for name in action.option_strings}
    assert {name for name, value in takes.items() if value} == VALUED
    assert {name for name, value in takes.items() if not value} == PLAIN
    settings = {name for action in parser("up")._actions for name in action.option_strings}  # pyright: ignore[reportPrivateUsage]
    assert settings & VALUED == SHARED


def test_up_gets_the_line_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--port", "x"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "rolltrace up: --port: 'x' is not a whole number\n"
    assert command.main([]) == 2
    assert "rolltrace GROUP --help" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    assert "rolltrace GROUP --help" in capsys.readouterr().out
