"""`rolltrace import` gives its place to the store's command, with every argument as it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import pytest

from rolltrace_client.__main__ import main
from rolltrace_client.commands import db

RUN = [sys.executable, "-m", "rolltrace_store.rllm"]


@pytest.mark.parametrize(
    ("given", "handed"),
    [
        (["import", "traces.db"], ["traces.db"]),
        (
            ["import", "traces.db", "--db-path", "data", "--json"],
            ["traces.db", "--db-path", "data", "--json"],
        ),
        (["--json", "import", "traces.db"], ["traces.db", "--json"]),
        (["import", "--help"], ["--help"]),
        (["import"], []),
    ],
)
def test_its_arguments_are_handed_on(
    given: list[str], handed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Sequence[str]] = []

    def execv(_: str, command: Sequence[str]) -> None:
        ran.append(command)

    monkeypatch.setattr(os, "execv", execv)
    main(given)
    assert ran == [[*RUN, *handed]]


def test_a_client_without_the_store_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing: dict[str, object] = {}
    monkeypatch.setattr(db, "find_spec", nothing.get)
    assert main(["import", "traces.db"]) == 1
    assert "pip install 'rolltrace[server]'" in capsys.readouterr().err
