"""Targets: what an operator writes. A YAML file, environment variables and flags."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rolltrace_control.worker_fields import from_setting
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.load import resolve, to_environment
from rolltrace_store.errors import InvalidArgumentError

_FOLDER = tempfile.TemporaryDirectory(prefix="rolltrace-fuzz-")
_FILE = Path(_FOLDER.name, "f.yaml")
_SECRET = "SECRETKEY"


def yaml_file(data: bytes) -> None:
    """A file gives settings, or one line that says what is wrong with it and holds no api_key."""
    _FILE.write_bytes(data)
    said = _resolve(["--config", str(_FILE)], {})
    if said and not re.search(rb"(?<!api_key: )SECRETKEY", data):
        assert _SECRET not in said


def environment(data: bytes) -> None:
    """So do variables."""
    entries = [entry.partition("=") for entry in data.decode("utf-8", "surrogateescape").split("\0")]
    variables = {f"ROLLTRACE_{name}": value for name, _, value in entries if name != "CONFIG"}
    _resolve([], variables)


def flags(data: bytes) -> None:
    """So do flags."""
    argv = [word for word in data.decode("utf-8", "surrogateescape").split("\0") if word]
    if not any(word.startswith(("-h", "--h", "--version", "--c", "@")) for word in argv):
        _resolve(argv, {})


def _resolve(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """What is wrong, or nothing. Settings that are right are the same for a child that is given them."""
    try:
        settings = resolve(argv, environ, service="up")
    except SettingsError as error:
        said = str(error)
        assert "\n" not in said
        return said
    for worker in settings.workers:
        with suppress(InvalidArgumentError):  # control logs it and goes on
            from_setting(worker)
    assert resolve([], to_environment(settings), service="up") == settings
    return ""
