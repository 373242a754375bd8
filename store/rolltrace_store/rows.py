"""A table within one transaction: typed rows instead of bytes.

Rules: a Rows never outlives its transaction, and only MutableRows can change it. A key that cannot be
written (not a UUID, not UTF-8, too long) names no row: asking for it is no error.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import lmdb

from rolltrace_store.errors import CorruptError
from rolltrace_store.schema.codec import UNREADABLE, Codec, Table

if TYPE_CHECKING:
    from lmdb import _Database  # pyright: ignore[reportPrivateUsage]  # it has no public name

Database: TypeAlias = "_Database"
Transaction: TypeAlias = "lmdb.Transaction[bytes]"

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

MAX_KEY = 511
UNWRITABLE = (ValueError, lmdb.BadValsizeError)
"""What asking for a key raises that no row can have; one that is too long is merely not there."""


def raw(txn: Transaction, database: Database, table: Table[K, V], key: K) -> bytes | None:
    """A row's value as it is stored. What every call asks for is asked here, without making a Rows."""
    try:
        return txn.get(table.key.encode(key), None, database)
    except UNWRITABLE:
        return None


def get(txn: Transaction, database: Database, table: Table[K, V], key: K) -> V | None:
    """A row's value."""
    try:
        data = txn.get(table.key.encode(key), None, database)
    except UNWRITABLE:
        return None
    try:
        return None if data is None else table.value.decode(data)
    except UNREADABLE as error:
        raise _corrupt(table, error) from error


def _corrupt(table: Table[K, V], error: Exception) -> CorruptError:
    return CorruptError(f"a row of table {table.name} cannot be read: {error}")


class Rows(Generic[K, V]):
    """Reads one table."""

    def __init__(self, txn: lmdb.Transaction[bytes], database: Database, table: Table[K, V]) -> None:
        self._txn = txn
        self._database = database
        self._table = table

    def get(self, key: K) -> V | None:
        return get(self._txn, self._database, self._table, key)

    def raw(self, key: K) -> bytes | None:
        """The row's value as it is stored."""
        return raw(self._txn, self._database, self._table, key)

    def has(self, key: K) -> bool:
        """Whether there is such a row."""
        return self.raw(key) is not None

    def scan(self, start: K | None = None, prefix: bytes = b"") -> Iterator[tuple[K, V]]:
        """Rows in the order of their keys, from `start` on, while the key's bytes begin with `prefix`."""
        first = prefix if start is None else self._table.key.encode(start)[:MAX_KEY]
        with self._txn.cursor(self._database) as cursor:
            found = cursor.set_range(first) if first else cursor.first()
            while found and cursor.key().startswith(prefix):
                yield self._item(cursor)
                found = cursor.next()

    def count(self) -> int:
        return self._txn.stat(self._database)["entries"]

    def count_within(self, prefix: bytes) -> int:
        """How many rows there are whose keys begin with `prefix`; they are walked, not read."""
        with self._txn.cursor(self._database) as cursor:
            if not cursor.set_range(prefix[:MAX_KEY]):
                return 0
            keys = cursor.iternext(keys=True, values=False)
            return sum(1 for _ in takewhile(lambda key: key.startswith(prefix), keys))

    def used_bytes(self) -> int:
        stat = self._txn.stat(self._database)
        return stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])

    def _item(self, cursor: lmdb.Cursor[bytes]) -> tuple[K, V]:
        key, value = cursor.item()
        return self._read(self._table.key, key), self._read(self._table.value, value)

    def _read(self, codec: Codec[T], data: bytes) -> T:
        try:
            return codec.decode(data)
        except UNREADABLE as error:
            raise _corrupt(self._table, error) from error


class MutableRows(Rows[K, V]):
    """Reads and changes one table."""

    def put(self, key: K, value: V) -> None:
        table = self._table
        self._txn.put(table.key.encode(key), table.value.encode(value), db=self._database)

    def delete(self, key: K) -> bool:
        """Whether there was such a row."""
        try:
            return self._txn.delete(self._table.key.encode(key), db=self._database)
        except UNWRITABLE:
            return False
