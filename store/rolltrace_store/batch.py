"""Commits a batch of operations in one transaction. No threads, no queue: writer.py has those.

Rules:

- After `commit` every operation has its result or its error.
- A `work` that raises leaves nothing and harms nobody: it runs in a child transaction. Calls need none: those
  that may not begin or be recorded are told before anything is written for them, and whatever else one of
  them raises undoes the batch.
- A batch that is undone is tried again, one operation at a time. So only those fail that must, and a
  deletion that makes room gets through although others of its batch find the map full.
- Traces are encoded and hashed before the transaction begins, so that the lock is held briefly.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import lmdb

from rolltrace.digest import trace_digest
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.environment import Environment
from rolltrace_store.errors import (
    AlreadyExistsError,
    NotFoundError,
    SealedError,
    SessionDeletedError,
    StoreError,
    StoreFullError,
    full_error,
)
from rolltrace_store.expansion import Expander
from rolltrace_store.history import Encoded, Histories, Recent
from rolltrace_store.interface import Commit, WriteView
from rolltrace_store.read_view import LmdbReadView
from rolltrace_store.schema.running import RunningKey, RunningRow
from rolltrace_store.write_view import LmdbWriteView

T = TypeVar("T")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPERM, errno.EACCES)
"""A disk that is full, beyond a quota or a limit, failing (LMDB says so of half a write too), read-only."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Operation(Generic[T]):
    """Something to commit. `size` is what it takes in the queue, in bytes."""

    size: int
    future: asyncio.Future[T]
    result: T | None = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Admission(Operation[None]):
    """Notes that a call runs."""

    key: RunningKey
    row: RunningRow


@dataclass(slots=True, eq=False)
class Append(Operation[Commit]):
    """Records a FULL trace. `orphan`: on behalf of a proxy that is gone, if its call runs still."""

    trace: Trace
    orphan: bool = False
    digest: bytes = field(default=b"", init=False)


@dataclass(slots=True, eq=False)
class Work(Operation[T]):
    """Runs a caller's function."""

    work: Callable[[WriteView], T]


class _Calls:
    """The calls that were admitted here and have not ended, by trace_id, as of the batch that is tried."""

    def __init__(self) -> None:
        self._run: set[str] = set()
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def begin(self, trace_id: str) -> None:
        self._begun.add(trace_id)

    def end(self, trace_id: str) -> None:
        self._ended.add(trace_id)

    def has(self, trace_id: str) -> bool:
        return trace_id in self._run or trace_id in self._begun

    def committed(self) -> None:
        """The batch is durable."""
        self._run |= self._begun
        self._run -= self._ended
        self.rolled_back()

    def rolled_back(self) -> None:
        """Nothing of the batch was kept."""
        self._begun.clear()
        self._ended.clear()


class Committer:
    """Commits batches to an environment. One thread at a time."""

    def __init__(
        self, environment: Environment, expander: Expander, history_bytes: int, clock: Callable[[], int]
    ) -> None:
        """`clock` gives nanoseconds since 1970."""
        self._environment = environment
        self._clock = clock
        self._expander = expander
        self._histories = Histories(self._recent, history_bytes)
        self._calls = _Calls()

    def commit(self, batch: Sequence[Operation[Any]]) -> bool:
        """Gives every operation its result or its error. Whether the log has grown."""
        try:
            return self._attempt(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = _translated(error, self._environment.max_size)
                return False
            grown = [self.commit([operation]) for operation in batch]
            return any(grown)

    def _attempt(self, batch: Sequence[Operation[Any]]) -> bool:
        encoded = {op: self._encode(op) for op in batch if isinstance(op, Append)}
        try:
            with self._environment.lmdb.begin(write=True) as txn:
                view = LmdbWriteView(self._environment, txn, self._expander, self._clock)
                for operation in batch:
                    self._apply(view, operation, encoded)
                grown = view.flush()
        except BaseException:
            self._histories.rolled_back(encoded.values())
            self._calls.rolled_back()
            raise
        self._histories.committed(body for append, body in encoded.items() if append.error is None)
        self._histories.rolled_back(body for append, body in encoded.items() if append.error is not None)
        self._calls.committed()
        for session_id in view.deleted_sessions:
            self._histories.forget(session_id)
        return grown

    def _apply(
        self, view: LmdbWriteView, operation: Operation[Any], encoded: Mapping[Append, Encoded]
    ) -> None:
        operation.error = None
        if isinstance(operation, Append):
            self._append(view, operation, encoded[operation])
        elif isinstance(operation, Admission):
            self._admit(view, operation)
        elif isinstance(operation, Work):
            self._work(view, operation)

    def _admit(self, view: LmdbWriteView, admission: Admission) -> None:
        try:
            view.admit(admission.key, admission.row)
            self._calls.begin(admission.key.trace_id)
        except (AlreadyExistsError, SealedError, SessionDeletedError) as error:
            admission.error = error

    def _append(self, view: LmdbWriteView, append: Append, encoded: Encoded) -> None:
        trace = append.trace
        if append.orphan and not view.runs(RunningKey(trace.session_id, trace.trace_id)):
            append.error = NotFoundError("running call", trace.trace_id)
            return
        earlier = {encoded.base_trace_id, encoded.parent_trace_id} - {""}
        if not all(map(view.has_trace, earlier)):  # another process deleted the session
            self._histories.forget(trace.session_id)
            encoded = self._histories.encode_alone(trace)
        admitted = self._calls.has(trace.trace_id)
        try:
            append.result = view.append(trace, encoded, append.digest, admitted=admitted)
        except SessionDeletedError as error:
            append.error = error
        self._calls.end(trace.trace_id)

    def _work(self, view: LmdbWriteView, operation: Work[Any]) -> None:
        try:
            with view.nested() as nested:
                operation.result = operation.work(nested)
        except lmdb.Error:
            raise
        except StopIteration as error:  # a future refuses it
            operation.error = RuntimeError(f"work raised {error!r}")
        except BaseException as error:
            operation.error = error

    def _encode(self, append: Append) -> Encoded:
        trace = append.trace
        append.digest = append.digest or trace_digest(trace)
        try:
            return self._histories.encode(trace)
        except Exception:
            log.exception(
                "session %s: its history cannot be read; trace %s is stored whole",
                trace.session_id,
                trace.trace_id,
            )
            self._histories.forget(trace.session_id)
            return self._histories.encode_alone(trace)

    def _recent(self, session_id: str, from_index: int) -> Sequence[Recent]:
        with self._environment.lmdb.begin() as txn:
            return LmdbReadView(self._environment, txn, self._expander).recent(session_id, from_index)


def _translated(error: Exception, max_size: int) -> Exception:
    """The domain's error for one of LMDB's."""
    if isinstance(error, (lmdb.MapFullError, lmdb.TxnFullError)):
        return full_error(max_size)
    if isinstance(error, (lmdb.DiskError, lmdb.ReadonlyError)) or (
        isinstance(error, lmdb.Error) and error.code in _NO_ROOM
    ):
        return StoreFullError(
            f"the disk of the store is full, read-only or failing ({error}): make room, or make it writable"
        )
    if isinstance(error, lmdb.Error):
        return StoreError(f"the store could not commit: {error}")
    if isinstance(error, StoreError):
        return error
    log.error("a write failed as nobody foresaw", exc_info=error)
    return StoreError(f"the store could not make the write: {error!r}")
