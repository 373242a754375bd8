"""Whether db_path can be a folder: where another gateway ran, a file of SQLite may stand there."""

from __future__ import annotations

import os

from rolltrace_settings.errors import SettingsError

_SQLITE = b"SQLite format 3\0"


def check_db_path(path: str, place: str) -> None:
    """Raises SettingsError for a file; `place`: where it was given."""
    if not os.path.isfile(path):
        return
    if is_sqlite(path):
        raise SettingsError(
            f"{place}: {path} is a database of SQLite: 'rolltrace import {path}' brings the traces of rLLM's "
            "gateway over; give a folder of its own here"
        )
    raise SettingsError(f"{place}: {path} is a file: give a folder, which is made when it is missing")


def is_sqlite(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False
