"""Opens an environment to look at it, beside the running services: it is never made, nor changed.

The snapshot is one read transaction. While it lasts LMDB cannot reuse the pages that others free, so
under load the file grows a little more than it would; they are used again afterwards.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from rolltrace_store import schema
from rolltrace_store.environment import LMDB_MAJOR
from rolltrace_store.errors import ForeignEnvironmentError, StoreError
from rolltrace_store.rows import MAX_KEY, Database, Rows
from rolltrace_store.schema import meta

FILE = "data.mdb"
_HEADROOM = 1 << 30
"""For what the services add between our looking at the file's size and the begin of the transaction."""


@dataclass(frozen=True, slots=True)
class LmdbSnapshot:
    """Implements check_tables.Snapshot. `path` is the environment's directory."""

    path: Path
    environment: lmdb.Environment
    txn: lmdb.Transaction[bytes]
    databases: Mapping[str, Database]

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        with self.txn.cursor(self.databases[table]) as cursor:
            yield from cursor

    def get(self, table: str, key: bytes) -> bytes | None:
        if not 0 < len(key) <= MAX_KEY:
            return None
        return self.txn.get(key, None, self.databases[table])

    def count(self, table: str) -> int:
        return self.txn.stat(self.databases[table])["entries"]

    def count_within(self, table: str, prefix: bytes) -> int:
        with self.txn.cursor(self.databases[table]) as cursor:
            found, count = cursor.set_range(prefix), 0
            while found and cursor.key().startswith(prefix):
                found, count = cursor.next(), count + 1
            return count

    def used_bytes(self, table: str) -> int:
        """What its pages take."""
        stat = self.txn.stat(self.databases[table])
        return stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])

    def file_bytes(self) -> int:
        return (self.path / FILE).stat().st_size


def map_size(path: Path) -> int | None:
    """The `max_db_size` of the environment in directory `path`, as last written; None if there is none.

    Raises StoreError when it cannot be opened.
    """
    if not (path / FILE).is_file():
        return None
    try:
        with lmdb.open(str(path), map_size=0, readonly=True, create=False, lib_version=LMDB_MAJOR) as found:
            return int(found.info()["map_size"])
    except lmdb.Error as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error


@contextmanager
def snapshot(path: Path) -> Generator[LmdbSnapshot, None, None]:
    """The environment in directory `path` as it stands.

    Raises StoreError when there is none or it cannot be opened, ForeignEnvironmentError when it holds
    something else.
    """
    if not (path / FILE).is_file():
        raise StoreError(f"there is no environment at {path}: it has no {FILE}")
    try:
        size = (path / FILE).stat().st_size + _HEADROOM
        environment = lmdb.open(
            str(path),
            map_size=size,
            max_dbs=len(schema.TABLES),
            readonly=True,
            create=False,
            lib_version=LMDB_MAJOR,
        )
    except (lmdb.Error, MemoryError) as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    try:
        with environment.begin() as txn:
            yield LmdbSnapshot(path, environment, txn, _databases(environment, txn, path))
    finally:
        environment.close()


def _databases(
    environment: lmdb.Environment, txn: lmdb.Transaction[bytes], path: Path
) -> dict[str, Database]:
    try:
        names = {table.name for table in schema.TABLES}
        databases = {name: environment.open_db(name.encode(), txn, create=False) for name in names}
        found = Rows(txn, databases[meta.NUMBERS.name], meta.NUMBERS).get(meta.FORMAT)
    except lmdb.Error as error:
        raise ForeignEnvironmentError(f"{path} does not hold a Rolltrace environment: {error}") from error
    if found != schema.FORMAT_VERSION:
        raise ForeignEnvironmentError(
            f"{path} has format {found}, this Rolltrace reads format {schema.FORMAT_VERSION}"
        )
    return databases
