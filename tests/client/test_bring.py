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
    monkeypatch.setattr(os, "execv", lambda _, command: ran.append(command))  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    main(given)
    assert ran == [[*RUN, *handed]]


def test_a_client_without_the_store_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(db, "find_spec", lambda _: None)  # pyright: ignore[reportUnknownLambdaType]
    assert main(["import", "traces.db"]) == 1
    assert "pip install 'rolltrace[server]'" in capsys.readouterr().err
