"""The SQLite file of rLLM's gateway, read and never written. A shell.

Its tables are those of rllm_model_gateway.store.sqlite_store, 0.1.0: `traces` (trace_id, data, created_at)
and `trace_sessions` (trace_id, session_id, created_at). The gateway may run meanwhile: each query is a short
one, so that none keeps it from writing.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_PATIENCE = 30.0
_FILED = "SELECT rowid FROM trace_sessions ORDER BY session_id, created_at, rowid"
_UNFILED = """
    SELECT rowid FROM traces t
    WHERE NOT EXISTS (SELECT 1 FROM trace_sessions s WHERE s.trace_id = t.trace_id) ORDER BY rowid
"""
_FILED_ROW = """
    SELECT s.trace_id, s.session_id, t.created_at, CAST(t.data AS BLOB)
    FROM trace_sessions s LEFT JOIN traces t ON t.trace_id = s.trace_id WHERE s.rowid = ?
"""
_UNFILED_ROW = "SELECT trace_id, NULL, created_at, CAST(data AS BLOB) FROM traces WHERE rowid = ?"


class SourceError(Exception):
    """The file can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record, filed under a session or, when that is None, under none. `created` is in seconds since 1970;
    `data` the record's JSON, None when there is no record."""

    trace_id: str
    session_id: str | None
    created: float
    data: bytes | None


class Source:
    """An open file, as it was when it was opened."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._filed = self._numbers(_FILED)
        self._unfiled = self._numbers(_UNFILED)

    def __len__(self) -> int:
        return len(self._filed) + len(self._unfiled)

    def rows(self) -> Iterator[Row]:
        """Session by session, each in the order of its calls; what has gone meanwhile is left out.

        Raises sqlite3.Error.
        """
        for query, numbers in ((_FILED_ROW, self._filed), (_UNFILED_ROW, self._unfiled)):
            for number in numbers:
                found = self._connection.execute(query, (number,)).fetchall()
                for trace_id, session_id, created, data in found:
                    yield Row(str(trace_id), session_id, created or 0.0, data)

    def _numbers(self, query: str) -> array[int]:
        return array("q", [number for (number,) in self._connection.execute(query).fetchall()])


@contextmanager
def opened(path: Path) -> Generator[Source]:
    """Raises SourceError for a file that is none of these, or can't be read, within the block too."""
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=_PATIENCE, uri=True)) as connection:
            connection.text_factory = _text
            _check(connection, path)
            yield Source(connection)
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _text(data: bytes) -> str:
    """Of a name; one that is not UTF-8 is found out when it is looked at."""
    return data.decode("utf-8", "surrogateescape")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master").fetchall()}
    missing = {"traces", "trace_sessions"} - found
    if missing:
        raise SourceError(
            f"{path} is not of rLLM's gateway: it has no table {' and no table '.join(sorted(missing))}"
        )
