"""What a store is asked to commit, and which of it becomes one. Decisions only.

Rules: every operation ends with a result or an error. A call's admission and its trace that are committed
together are one operation: the admission is checked, and leaves no row that the trace would only remove.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.cutting import Blobs
from rolltrace_store.history import Encoded
from rolltrace_store.interface import Commit, WriteView
from rolltrace_store.schema.running import RunningKey, RunningRow

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Operation(Generic[T]):
    """Something to commit. `size` is what it takes in the queue, in bytes."""

    size: int
    future: asyncio.Future[T]
    result: T | None = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Admission(Operation[None]):
    """Notes that a call runs; `trace` is written as it is when the row is asked for first."""

    key: RunningKey
    proxy_id: str
    check: int
    trace: Trace
    _row: RunningRow | None = field(default=None, init=False)

    def row(self) -> RunningRow:
        if self._row is None:
            self._row = RunningRow(self.proxy_id, self.check, self.trace.SerializeToString())
        return self._row


@dataclass(slots=True, eq=False)
class Append(Operation[Commit]):
    """Records a FULL trace. `orphan`: on behalf of a proxy that is gone, if its call runs still."""

    trace: Trace
    orphan: bool = False
    blobs: Blobs = field(default_factory=dict[bytes, bytes])
    """The arrays that the trace names; once it is encoded, what was cut out of its bodies too."""
    admission: Admission | None = field(default=None, init=False)
    """Of its call, if that is not committed before: both have one outcome."""
    digest: bytes = field(default=b"", init=False)
    encoded: Encoded | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Work(Operation[T]):
    """Runs a caller's function, which may take its time."""

    work: Callable[[WriteView], T]


Batch: TypeAlias = Sequence[Operation[Any]]


def joined(operations: Iterable[Operation[Any]]) -> list[Operation[Any]]:
    """A batch in which calls that begin and end in it are one operation each.

    What a Work does may stand between the two, so that no call is joined across one.
    """
    batch: dict[Operation[Any], None] = {}
    admissions: dict[str, Admission] = {}
    for operation in operations:
        batch[operation] = None
        if isinstance(operation, Admission):
            admissions[operation.key.trace_id] = operation
        elif isinstance(operation, Work):
            admissions.clear()
        elif isinstance(operation, Append):
            admission = admissions.pop(operation.trace.trace_id, None)
            if admission is not None and admission.key.session_id == operation.trace.session_id:
                operation.admission = admission
                del batch[admission]
    return list(batch)
