"""A transaction that can change the store: its tables, its log and its room.

Rule: the view keeps the log's head to itself and puts it into `meta` once, in `flush`, so that a batch
of many events writes it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import lmdb
from google.protobuf.message import Message

from rolltrace.v1.event_pb2 import EventKind
from rolltrace_store import schema
from rolltrace_store.environment import Environment
from rolltrace_store.errors import CorruptError, full_error
from rolltrace_store.expansion import Expander
from rolltrace_store.read_view import LmdbReadView
from rolltrace_store.rows import MutableRows
from rolltrace_store.schema import log, meta
from rolltrace_store.schema.codec import Table

K = TypeVar("K")
V = TypeVar("V")

_ROOM_TO_SPARE = 32 << 20
"""With so many bytes never used, a batch fits, and the pages in use need not be counted."""
_ROW_OVERHEAD = 512


class MutableView(LmdbReadView):
    """What every change needs."""

    def __init__(
        self,
        environment: Environment,
        txn: lmdb.Transaction[bytes],
        expander: Expander,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`clock` gives nanoseconds since 1970."""
        super().__init__(environment, txn, expander)
        self._clock = clock
        self._stored_head = self._head = super().head()
        self._room: int | None = None
        self.deleted_sessions: list[str] = []

    def head(self) -> int:
        return self._head

    def flush(self) -> bool:
        """Writes what the view keeps to itself; whether there were events.

        The last thing before the transaction ends.
        """
        if self._head == self._stored_head:
            return False
        key, value = meta.NUMBERS.key.encode(meta.HEAD), meta.NUMBERS.value.encode(self._head)
        self._txn.put(key, value, db=self._databases[meta.NUMBERS.name])
        self._stored_head = self._head
        return True

    def _mutable(self, table: Table[K, V]) -> MutableRows[K, V]:
        return MutableRows(self._txn, self._databases[table.name], table)

    def _take_room(self, size: int) -> None:
        """Counts `size` bytes more of what grows the store. Raises StoreFullError when they do not fit.

        What does not call it may use the reserve: deletions before all.
        """
        room = self._room
        if room is None:
            room = self._environment.room(self._txn, _ROOM_TO_SPARE)
        self._room = room = room - size - _ROW_OVERHEAD
        if room < 0:
            raise full_error(self._environment.max_size)

    def _log(self, kind: EventKind.ValueType, message: Message) -> None:
        self._append(kind, message.SerializeToString())

    def _append(self, kind: EventKind.ValueType, *body: bytes) -> None:
        key, value = schema.LOG.key.encode(self._head + 1), log.event(kind, *body)
        if not self._txn.put(key, value, True, False, True, self._databases[schema.LOG.name]):
            raise CorruptError(f"table {schema.LOG.name} has a row after the last one already")
        self._head += 1
