"""Commits a batch of operations in one transaction. No threads, no queue: writer.py has those.

Rules:

- After `commit` every operation has its result or its error.
- A `work` that raises leaves nothing and harms nobody: it runs in a child transaction. Calls need none: those
  that may not begin or be recorded are told before anything is written for them, and whatever else one of
  them raises undoes the batch.
- A batch that is undone is tried again, one operation at a time. So only those fail that must, and a
  deletion that makes room gets through although others of its batch find the map full.
- Traces are encoded and hashed before the transaction begins, so that the gate is shut briefly.
- A commit that must not wait tries once, and leaves the batch to one that may.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from typing import Any

import lmdb

from rolltrace.digest import trace_digest
from rolltrace_store.blobs import Packed, pack
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
from rolltrace_store.operations import Admission, Append, Batch, Operation, Work
from rolltrace_store.read_view import LmdbReadView
from rolltrace_store.schema.running import RunningKey
from rolltrace_store.write_view import Known, LmdbWriteView

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPERM, errno.EACCES)
"""A disk that is full, beyond a quota or a limit, failing (LMDB says so of half a write too), read-only."""

log = logging.getLogger(__name__)


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
        if self._begun:
            self._run |= self._begun
            self._begun.clear()
        if self._ended:
            self._run -= self._ended
            self._ended.clear()

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
        self._packed: dict[bytes, Packed] = {}
        """Blobs of the batch that is tried."""

    def commit(self, batch: Batch, *, wait: bool = True) -> bool | None:
        """Gives every operation its result or its error. Whether the log has grown.

        Without `wait`: None, and nothing is done or decided, when another process is at it, or when more than
        one operation fails.
        """
        try:
            for operation in batch:
                if isinstance(operation, Append) and operation.encoded is None:
                    self._encode(operation)
            self._pack(batch)
            if not self._environment.gate.enter(wait=wait):
                return None
            try:
                return self._attempt(batch)
            finally:
                self._environment.gate.leave()
        except Exception as error:
            self._roll_back(batch)
            if len(batch) == 1:
                batch[0].error = _translated(error, self._environment.max_size)
                return False
            if not wait:
                return None
            grown = [self.commit([operation]) for operation in batch]
            return any(grown)

    def _attempt(self, batch: Batch) -> bool:
        with self._environment.lmdb.begin(write=True) as txn:
            view = LmdbWriteView(self._environment, txn, self._expander, self._clock)
            for operation in batch:
                self._apply(view, operation)
            grown = view.flush()
        for operation in batch:
            if isinstance(operation, Append) and operation.encoded is not None:
                settle = self._histories.committed if operation.error is None else self._histories.rolled_back
                settle((operation.encoded,))
        self._calls.committed()
        for session_id in view.deleted_sessions:
            self._histories.forget(session_id)
        return grown

    def _roll_back(self, batch: Batch) -> None:
        """Nothing of it was kept."""
        self._calls.rolled_back()
        for operation in batch:
            if isinstance(operation, Append) and operation.encoded is not None:
                self._histories.rolled_back([operation.encoded])
                operation.encoded = None

    def _apply(self, view: LmdbWriteView, operation: Operation[Any]) -> None:
        operation.error = None
        if isinstance(operation, Append):
            self._append(view, operation)
        elif isinstance(operation, Admission):
            self._admit(view, operation)
        elif isinstance(operation, Work):
            self._work(view, operation)

    def _admit(self, view: LmdbWriteView, admission: Admission) -> None:
        try:
            view.admit(admission.key, admission.row())
            self._calls.begin(admission.key.trace_id)
        except (AlreadyExistsError, SealedError, SessionDeletedError) as error:
            admission.error = error

    def _append(self, view: LmdbWriteView, append: Append) -> None:
        trace, encoded = append.trace, append.encoded
        assert encoded is not None
        if append.orphan and not view.runs(RunningKey(trace.session_id, trace.trace_id)):
            append.error = NotFoundError("running call", trace.trace_id)
            return
        if not _has_earlier(view, encoded):  # another process deleted the session
            self._histories.forget(trace.session_id)
            encoded = self._histories.encode_alone(trace)
        known = Known.UNKNOWN if append.admission is None else Known.BEGINS
        if self._calls.has(trace.trace_id):
            known = Known.RUNNING
        try:
            append.result = view.append(trace, encoded, append.digest, known=known)
            if append.blobs:
                view.keep_blobs(trace.session_id, append.blobs, self._packed)
        except (SealedError, SessionDeletedError) as error:
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

    def _encode(self, append: Append) -> None:
        trace = append.trace
        append.digest = append.digest or trace_digest(trace)
        try:
            append.encoded = self._histories.encode(trace)
        except Exception:
            log.exception(
                "session %s: its history cannot be read; trace %s is stored whole",
                trace.session_id,
                trace.trace_id,
            )
            self._histories.forget(trace.session_id)
            append.encoded = self._histories.encode_alone(trace)
        if append.encoded.blobs:
            append.blobs = {**append.blobs, **append.encoded.blobs}

    def _pack(self, batch: Batch) -> None:
        """Compresses the blobs that are not there, before the gate is shut."""
        self._packed = {}
        appends = [operation for operation in batch if isinstance(operation, Append) and operation.blobs]
        if appends:
            with self._environment.lmdb.begin() as txn:
                view = LmdbReadView(self._environment, txn, self._expander)
                for digest, data in {k: v for append in appends for k, v in append.blobs.items()}.items():
                    if not view.has_blob(digest):
                        self._packed[digest] = pack(data)

    def _recent(self, session_id: str, from_index: int) -> Sequence[Recent]:
        with self._environment.lmdb.begin() as txn:
            return LmdbReadView(self._environment, txn, self._expander).recent(session_id, from_index)


def _has_earlier(view: LmdbWriteView, encoded: Encoded) -> bool:
    """Whether the traces are there that one refers to."""
    base, parent = encoded.base_trace_id, encoded.parent_trace_id
    if base and not view.has_trace(base):
        return False
    return parent in ("", base) or view.has_trace(parent)


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
