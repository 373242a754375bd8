"""What is forgotten in time: tombstones, and the beginning of the log."""

from __future__ import annotations

from itertools import islice

from rolltrace_store import schema
from rolltrace_store.mutable_view import MutableView
from rolltrace_store.schema import meta
from rolltrace_store.schema.age import Age
from rolltrace_store.trimming import trimmable


class Forgetting(MutableView):
    """The part of interface.WriteView that is about old rows."""

    def forget(self, before: int, most: int = 1000) -> int:
        pruned = self._prune_tombstones(before, most)
        return pruned + (self._trim_log(before, most - pruned) if pruned < most else 0)

    def _prune_tombstones(self, before: int, most: int) -> int:
        tombstones, times = self._mutable(schema.TOMBSTONES), self._mutable(schema.TOMBSTONE_TIMES)
        oldest: list[Age] = [age for age, _ in islice(times.scan(), most)]
        old = [age for age in oldest if age.time < before]
        for age in old:
            times.delete(age)
            tombstones.delete(age.name)
        return len(old)

    def _trim_log(self, before: int, most: int) -> int:
        def settled(session_id: str, time: int) -> bool:
            return time < before and not self.has_session(session_id) and self.deleted(session_id) is None

        log = self._mutable(schema.LOG)
        sequences = trimmable(self.events(0), settled, most)
        for sequence in sequences:
            log.delete(sequence)
        if sequences:
            self._mutable(meta.NUMBERS).put(meta.COMPACTED, sequences[-1])
        return len(sequences)
