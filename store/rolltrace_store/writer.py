"""Group commit: what the event loop hands in is committed in batches, on the loop or in a thread.

Rules:

- What is handed in during one turn of the loop is one batch. An admission alone waits for company: it goes
  with the next commit of anything, when it is hurried, or after ADMISSION_DELAY.
- `inline` commits on the loop, for as long as that costs it next to nothing: a small batch of calls, while no
  other process is at it. All else is the thread's, which may wait. They take turns: while the thread has a
  batch, the loop commits nothing, and what comes meanwhile follows as one batch.
- After an inline commit that took long, as on a disk that stalls, the thread has them for a while.
- The queue is bounded in bytes and refuses what does not fit (StoreBusyError); one operation always fits.
- Futures are resolved on their loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from rolltrace_store.commit_thread import Chore, CommitThread, leave_undecided
from rolltrace_store.errors import StoreBusyError, StoreClosedError
from rolltrace_store.operations import Admission, Append, Batch, Operation, Work, joined

BATCH_BYTES = 4 << 20
BATCH_COUNT = 512
INLINE_BYTES = 512 << 10
INLINE_COUNT = 32
ADMISSION_DELAY = 0.005
"""Seconds that an admission waits for company."""
SLOW = 0.1
"""Seconds of an inline commit from which on the disk is taken to stall..."""
SLOW_PAUSE = 1.0
"""...and seconds for which the thread commits then."""


class Writer:
    """A queue, and who empties it. All its methods belong to the event loop."""

    def __init__(
        self,
        commit: Callable[[Batch, bool], bool],
        chores: Sequence[Chore],
        max_bytes: int,
        *,
        inline: bool,
    ) -> None:
        """`commit` gives a batch its outcome. With False it must not wait for other processes or try
        anything twice, and may leave the batch as it is: False. `chores` run in the thread.
        """
        self._commit = commit
        self._max_bytes = max_bytes
        self._inline = inline
        self._waiting: deque[Operation[Any]] = deque()
        self._queued_bytes = 0
        self._wanted = False
        """Whether something waits that does not wait for company."""
        self._soon = False
        self._busy = False
        """Whether it is the thread's turn."""
        self._closed = False
        self._since = 0.0
        self._slow_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._turn = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = CommitThread(commit, self._hand_back, chores, self._turn)

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    def submit(self, operation: Operation[Any]) -> None:
        """Queues it. Raises StoreBusyError, StoreClosedError."""
        if self._closed:
            raise StoreClosedError("the store is closed")
        queued = self._queued_bytes + operation.size
        if queued > self._max_bytes and self._queued_bytes:
            raise StoreBusyError(
                f"{self._queued_bytes} bytes wait to be committed, write_queue_size is {self._max_bytes}: "
                "try again shortly"
            )
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(operation)
        self._queued_bytes = queued
        if not isinstance(operation, Admission):
            self._want()
        elif self._timer is None:
            self._wait_for_company()

    def hurry(self) -> None:
        """Commits now what waits for company."""
        if self._waiting:
            self._want()

    async def close(self) -> None:
        """Commits what is queued and ends the thread."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if not self._closed:
            self._closed = True
            if not self._busy:
                self._flush()
        await loop.run_in_executor(None, self._thread.join)

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._soon, self._timer = loop, False, None

    def _want(self) -> None:
        self._wanted = True
        if not self._soon and not self._busy and self._loop is not None:
            self._soon = True
            self._loop.call_soon(self._flush)

    def _wait_for_company(self) -> None:
        if self._timer is None and not self._wanted and self._loop is not None:
            left = self._since + ADMISSION_DELAY - time.monotonic()
            self._timer = self._loop.call_later(max(left, 0), self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        if not self._waiting or self._wanted:
            return
        if time.monotonic() < self._since + ADMISSION_DELAY / 2:  # those that waited have gone with others
            self._wait_for_company()
        else:
            self._want()

    def _flush(self) -> None:
        """Commits a batch, or lets the thread do it; then what is left."""
        self._soon = False
        if not self._busy and self._waiting:
            batch = self._few() if self._inline else []
            if batch and self._try(batch):
                self._resolve(batch)
            else:
                self._busy = True
                batch = joined([*batch, *self._many()])
                _fix(batch)
                self._thread.hand(batch)
            self._wanted = self._wanted and bool(self._waiting)
        self._go_on()

    def _go_on(self) -> None:
        if self._busy:
            return
        if self._waiting and (self._wanted or self._closed):
            self._want()
        elif self._waiting:
            self._wait_for_company()
        elif self._closed:
            self._thread.stop()

    def _try(self, batch: Batch) -> bool:
        """Whether it could be committed at once, here."""
        begin = time.monotonic()
        if begin < self._slow_until or not self._turn.acquire(blocking=False):
            return False
        try:
            return self._commit(batch, False)
        except Exception as error:
            leave_undecided(batch, error)
            return True
        finally:
            self._turn.release()
            end = time.monotonic()
            if end - begin > SLOW:
                self._slow_until = end + SLOW_PAUSE

    def _few(self) -> list[Operation[Any]]:
        """The calls that wait first, as long as they are small and few."""
        waiting = self._waiting
        if self._queued_bytes <= INLINE_BYTES and len(waiting) <= INLINE_COUNT:
            kinds = set(map(type, waiting))
            if Work not in kinds:  # as nearly always
                batch = [*waiting]
                waiting.clear()
                return joined(batch) if len(kinds) > 1 else batch
        size = count = 0
        for operation in islice(waiting, INLINE_COUNT):
            size += operation.size
            if isinstance(operation, Work) or size > INLINE_BYTES:
                break
            count += 1
        return joined([waiting.popleft() for _ in range(count)])

    def _many(self) -> list[Operation[Any]]:
        """What waits, up to a batch."""
        batch: list[Operation[Any]] = []
        size = 0
        while self._waiting and size < BATCH_BYTES and len(batch) < BATCH_COUNT:
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        return batch

    def _hand_back(self, batch: Batch) -> None:
        """In the thread. Raises RuntimeError when the loop has ended."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._done, batch)
        except RuntimeError:
            self._busy = False
            raise

    def _done(self, batch: Batch) -> None:
        self._busy = False
        self._resolve(batch)
        self._go_on()

    def _resolve(self, batch: Batch) -> None:
        for operation in batch:
            if isinstance(operation, Append) and operation.admission is not None:
                operation.admission.error = operation.error
                self._tell(operation.admission)
            self._tell(operation)

    def _tell(self, operation: Operation[Any]) -> None:
        self._queued_bytes -= operation.size
        future = operation.future
        if future.done():
            return
        if operation.error is None:
            future.set_result(operation.result)
        else:
            future.set_exception(operation.error)


def _fix(batch: Batch) -> None:
    """Takes from admissions what is written: their traces are the loop's."""
    for operation in batch:
        if isinstance(operation, Admission):
            operation.row()
