"""The thread that commits what the event loop should not, since it may wait there for others or for a disk.

Rules: whatever happens, it lives and answers every batch. Between batches it does chores; `turn` keeps them
and commits on the loop apart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from rolltrace_store.operations import Batch

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Chore:
    """What the thread runs every `interval` seconds, or a little later. It MUST NOT raise."""

    interval: float
    run: Callable[[], None]
    due: float = field(init=False)

    def __post_init__(self) -> None:
        self.due = time.monotonic() + self.interval


class CommitThread:
    def __init__(
        self,
        commit: Callable[[Batch, bool], bool],
        hand_back: Callable[[Batch], None],
        chores: Sequence[Chore],
        turn: threading.Lock,
    ) -> None:
        """`commit` as in Writer; `hand_back` takes a batch that was decided, or raises RuntimeError."""
        self._commit = commit
        self._hand_back = hand_back
        self._chores = chores
        self._turn = turn
        self._tick = min(chore.interval for chore in chores)
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="rolltrace-writer", daemon=True)
        self._thread.start()

    def hand(self, batch: Batch) -> None:
        self._batches.put(batch)

    def stop(self) -> None:
        """Ends it once it has done what it was handed."""
        self._batches.put(None)

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        batch: Batch | None = ()
        while batch is not None:
            with suppress(Empty):
                batch = ()
                batch = self._batches.get(timeout=self._tick)
            if batch:
                self._decide(batch)
                self._answer(batch)
            self._do_chores()

    def _decide(self, batch: Batch) -> None:
        with self._turn:
            try:
                self._commit(batch, True)
            except BaseException as error:
                leave_undecided(batch, error)

    def _answer(self, batch: Batch) -> None:
        try:
            self._hand_back(batch)
        except RuntimeError:
            log.warning("the event loop ended before %d writes were answered; they are decided", len(batch))

    def _do_chores(self) -> None:
        for chore in self._chores:
            if time.monotonic() >= chore.due:
                chore.due = time.monotonic() + chore.interval
                with self._turn:
                    chore.run()


def leave_undecided(batch: Batch, error: BaseException) -> None:
    """Answers the callers of a batch whose commit broke off as nobody foresaw."""
    log.error("a batch of %d writes was left undecided", len(batch), exc_info=error)
    for operation in batch:
        if operation.result is None and operation.error is None:
            operation.error = error
