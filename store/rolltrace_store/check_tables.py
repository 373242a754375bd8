"""A snapshot's tables as values, and how faults in them are told. What the checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import schema
from rolltrace_store.schema.codec import UNREADABLE, Table

K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M", bound=Message)


class Snapshot(Protocol):
    """The tables' rows as bytes, all of one moment, whatever holds them."""

    def scan(self, table: str) -> Iterator[tuple[bytes, bytes]]: ...
    def get(self, table: str, key: bytes) -> bytes | None: ...
    def count(self, table: str) -> int: ...
    def count_within(self, table: str, prefix: bytes) -> int: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: the table, the row and the fault in words."""

    table: str
    row: str
    fault: str

    def __str__(self) -> str:
        return f"{self.table}: {self.row} {self.fault}"


Report = Callable[[Finding], None]
Tick = Callable[[], None]


class Tables:
    """A snapshot's rows as values. A row that cannot be read is reported by `scan` and left out."""

    def __init__(self, snapshot: Snapshot, report: Report) -> None:
        self._snapshot = snapshot
        self._report = report

    def scan(self, table: Table[K, V]) -> Iterator[tuple[K, V]]:
        for key, value in self._snapshot.scan(table.name):
            try:
                yield table.key.decode(key), table.value.decode(value)
            except UNREADABLE as error:
                self.fault(table, f"the row of key {key.hex()}", f"cannot be read: {error}")

    def get(self, table: Table[K, V], key: K) -> V | None:
        """None too when it cannot be read."""
        try:
            data = self._snapshot.get(table.name, table.key.encode(key))
            return None if data is None else table.value.decode(data)
        except UNREADABLE:
            return None

    def has(self, table: Table[K, V], key: K) -> bool:
        return self._snapshot.get(table.name, table.key.encode(key)) is not None

    def count(self, table: Table[K, V]) -> int:
        return self._snapshot.count(table.name)

    def count_within(self, table: Table[K, V], prefix: bytes) -> int:
        """How many rows there are whose keys begin with `prefix`."""
        return self._snapshot.count_within(table.name, prefix)

    def trace(self, sequence: int) -> Trace | None:
        """The trace at `sequence`, if there is one."""
        entry = self.get(schema.LOG, sequence)
        if entry is None or entry.kind != event.EVENT_KIND_TRACE:
            return None
        return parse(Trace, entry.body)

    def fault(self, table: Table[K, V], row: str, fault: str) -> None:
        self._report(Finding(table.name, row, fault))


def parse(kind: type[M], body: bytes) -> M | None:
    """None when it cannot be read."""
    try:
        return kind.FromString(body)
    except UNREADABLE:
        return None
