"""Watches whether there is room to record, so that a call is refused before it runs and not after.

Rules:

- `check` is called on the event loop for every call: it reads one attribute. All else runs after commits,
  where they are made, and a few times a second in the writer's thread; never both at once.
- Between two looks what was committed is counted, at twice its size for pages and indexes, so that no
  burst outruns them.
- After a commit that found no room, a trial write says when there is some again: nobody needs to restart
  anything, and no call is spent on finding out.
"""

from __future__ import annotations

import logging
import os

import lmdb

from rolltrace_store.environment import Environment
from rolltrace_store.errors import StoreFullError
from rolltrace_store.operations import Batch
from rolltrace_store.room_rules import Found, Limits, to_spare, why_full
from rolltrace_store.rows import MutableRows
from rolltrace_store.schema import meta

LOOK_INTERVAL = 0.25
"""Seconds between two looks, at most."""
_TRIAL_BYTES = 256 << 10

log = logging.getLogger(__name__)


class Room:
    """What is left of an environment and of its disk."""

    def __init__(self, environment: Environment, limits: Limits) -> None:
        self._environment = environment
        self._limits = limits
        self._lacked = ""
        self._spare = 0
        self._full = ""
        self.look()

    def check(self) -> None:
        """Raises StoreFullError while a call that begins now might not be recorded."""
        if full := self._full:
            raise StoreFullError(full)

    def settled(self, batch: Batch) -> None:
        """A batch was committed, or was not."""
        lacked: StoreFullError | None = None
        for operation in batch:
            self._spare -= 2 * operation.size
            if isinstance(operation.error, StoreFullError):
                lacked = operation.error
        if lacked is not None:
            self._lacked = str(lacked)
            self._tell(self._lacked)
        elif self._full or self._spare < 0:
            self.look()

    def look(self) -> None:
        """Measures what is left, and writes a trial when only the last commit speaks against it."""
        try:
            found = self._measured()
            full, self._spare = why_full(found, self._limits), to_spare(found, self._limits)
            if full and full == self._lacked and self._try():
                self._lacked = full = ""
        except (lmdb.Error, OSError) as error:
            log.warning("the room of the store cannot be measured: %s", error)
            return
        self._tell(full)

    def _measured(self) -> Found:
        environment, limits = self._environment, self._limits
        disk = os.statvfs(environment.path)
        disk_free = disk.f_bavail * disk.f_frsize
        with environment.lmdb.begin() as txn:
            map_left = environment.room(txn, limits.map_kept)
            short = disk_free < limits.min_free_disk
            file_free = environment.page_bytes() - environment.used_bytes(txn) if short else 0
        return Found(map_left, disk_free, file_free, self._lacked)

    def _try(self) -> bool:
        """Whether a record of some size can be committed, as far as can be told at once. Leaves nothing."""
        size = min(_TRIAL_BYTES, self._environment.max_size // 16)
        texts, database = meta.TEXTS, self._environment.databases[meta.TEXTS.name]
        if not self._environment.gate.enter(wait=False):
            return False
        try:
            with self._environment.lmdb.begin(write=True) as txn:
                MutableRows(txn, database, texts).put(meta.TRIAL, " " * size)
            with self._environment.lmdb.begin(write=True) as txn:
                MutableRows(txn, database, texts).delete(meta.TRIAL)
        except lmdb.Error:
            return False
        finally:
            self._environment.gate.leave()
        return True

    def _tell(self, full: str) -> None:
        if full and not self._full:
            log.warning("new calls are refused: %s", full)
        elif self._full and not full:
            log.info("there is room again: calls are taken")
        self._full = full
