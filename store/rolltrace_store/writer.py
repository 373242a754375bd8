"""Group commit: one thread takes what is queued and commits it, a batch at a time.

Both durabilities commit in the thread: LMDB's lock is one for all processes and has no try, so a commit
on the event loop would stop the loop for as long as another process holds it.

Rules:

- The queue is bounded in bytes and refuses what does not fit (StoreBusyError); one operation always fits.
- Futures are resolved on their loop, with one call for a batch.
- Between two batches of a full queue the thread rests a moment, or the lock, which is not fair, would
  never reach the other processes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from rolltrace_store.batch import Operation
from rolltrace_store.errors import StoreBusyError, StoreClosedError

T = TypeVar("T")
Batch = Sequence[Operation[Any]]

BATCH_BYTES = 4 << 20
BATCH_COUNT = 512
REST = 0.0003
"""Seconds between two batches of a full queue."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Chore:
    """What the thread runs every `interval` seconds, or a little later. It MUST NOT raise."""

    interval: float
    run: Callable[[], None]
    due: float = field(init=False)

    def __post_init__(self) -> None:
        self.due = time.monotonic() + self.interval


class Writer:
    """A queue and the thread that empties it."""

    def __init__(
        self,
        commit: Callable[[Batch], bool],
        grown: Callable[[], None],
        chores: Sequence[Chore],
        max_bytes: int,
    ) -> None:
        """In the thread: `commit` gives a batch its outcome and says whether the log has grown; then
        `grown` follows. `chores` run at times.
        """
        self._commit = commit
        self._grown = grown
        self._chores = chores
        self._tick = min(chore.interval for chore in chores)
        self._max_bytes = max_bytes
        self._queue: SimpleQueue[Operation[Any] | None] = SimpleQueue()
        self._queued_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="rolltrace-writer", daemon=True)
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    def submit(self, operation: Operation[Any]) -> None:
        """Queues it; on the event loop. Raises StoreBusyError, StoreClosedError."""
        if self._closed:
            raise StoreClosedError("the store is closed")
        if self._queued_bytes and self._queued_bytes + operation.size > self._max_bytes:
            raise StoreBusyError(
                f"{self._queued_bytes} bytes wait to be committed, write_queue_size is {self._max_bytes}: "
                "try again shortly"
            )
        self._loop = asyncio.get_running_loop()
        self._queued_bytes += operation.size
        self._queue.put(operation)

    async def close(self) -> None:
        """Commits what is queued and ends the thread."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _run(self) -> None:
        while not self._stopping:
            if batch := self._take():
                self._decide(batch)
                self._hand_back(batch)
                if not self._queue.empty():
                    time.sleep(REST)
            self._do_chores()

    def _decide(self, batch: Batch) -> None:
        """Commits it; whatever happens, the thread lives and the callers are answered."""
        try:
            if self._commit(batch):
                self._grown()
        except BaseException as error:
            log.exception("a batch of %d writes was left undecided", len(batch))
            for operation in batch:
                if operation.result is None and operation.error is None:
                    operation.error = error

    def _take(self) -> list[Operation[Any]]:
        """Waits for an operation, then takes what else is there, up to a batch."""
        batch: list[Operation[Any]] = []
        size = 0
        try:
            while size < BATCH_BYTES and len(batch) < BATCH_COUNT:
                wait = not batch
                operation = self._queue.get(wait, self._tick if wait else None)
                if operation is None:
                    self._stopping = True
                    break
                batch.append(operation)
                size += operation.size
        except Empty:
            pass
        return batch

    def _hand_back(self, batch: Batch) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._resolve, batch)
        except RuntimeError:
            log.warning("the event loop ended before %d writes were answered; they are decided", len(batch))

    def _resolve(self, batch: Batch) -> None:
        for operation in batch:
            self._queued_bytes -= operation.size
            future = operation.future
            if not future.done():
                if operation.error is None:
                    future.set_result(operation.result)
                else:
                    future.set_exception(operation.error)

    def _do_chores(self) -> None:
        for chore in self._chores:
            if time.monotonic() >= chore.due:
                chore.due = time.monotonic() + chore.interval
                chore.run()
