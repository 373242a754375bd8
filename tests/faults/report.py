"""The report of the faults: one row for each, in the order of docs/reliability.md. No I/O.

A test says with `@fault(ROW)` which row it belongs to, and counts in its `tally` what it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import pytest

ROWS = (
    "kill -9 of a proxy",
    "kill -9 of control",
    "kill -9 of both",
    "kill -9 while images are recorded",
    "kill -9 of the supervisor",
    "kill -9 of a trainer",
    "power cut",
    "worker refuses",
    "worker resets",
    "worker stalls before headers",
    "worker stalls in mid-body",
    "worker closes early",
    "worker sends half a chunk",
    "worker sends invalid JSON",
    "worker sends a wrong content-length",
    "worker sends 200 with an error event",
    "worker answers 5xx",
    "worker answers 429 with Retry-After",
    "all workers dead, then back",
    "worker busy",
    "agent hangs up, at every stage",
    "agent sends slowly",
    "agent sends too much",
    "agent sends what is not JSON",
    "agent sends bad UTF-8",
    "agent nests deeply",
    "agent repeats keys",
    "agent sends huge headers",
    "agent uses a bad session id",
    "agent uses a wrong method",
    "agent smuggles, with both lengths",
    "agent sends absolute and encoded paths",
    "disk full",
    "map full",
    "environment read-only",
    "reader slots full",
    "address-space limit",
    "subscriber slow",
    "subscriber stuck",
    "subscriber vanishes",
    "200 subscribers",
    "clock steps back an hour",
    "environment of another format",
    "a foreign file for an environment",
    "doorbell lost",
)


@dataclass(slots=True)
class Tally:
    """What a test did: SIGKILLs sent, calls made, streams of subscribers, promises checked."""

    kills: int = 0
    calls: int = 0
    streams: int = 0
    promises: int = 0

    def add(self, other: Tally) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class Row:
    """A fault's tests, taken together."""

    outcomes: dict[str, str] = field(default_factory=dict[str, str])
    tallies: dict[str, Tally] = field(default_factory=dict[str, Tally])

    @property
    def tally(self) -> Tally:
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total

    def result(self) -> str:
        """The worst of its tests."""
        found = self.outcomes.values()
        return next((word for word in ("FAILED", "skipped", "passed") if word in found), "NOT RUN")


class Report:
    """Gathers what the tests of a run did."""

    def __init__(self) -> None:
        self.rows = {name: Row() for name in ROWS}
        self.notes: list[str] = []

    def note(self, row: str, test: str, outcome: str, tally: Tally) -> None:
        """Of one test; said again when more is known."""
        self.rows[row].outcomes[test] = outcome
        self.rows[row].tallies[test] = tally

    def lines(self) -> list[str]:
        """The table, a line each."""
        heading = ("fault", "cases", "kills", "calls", "streams", "promises", "result")
        table = [heading, *(_cells(name, row) for name, row in self.rows.items())]
        total = Tally()
        for row in self.rows.values():
            total.add(row.tally)
        cases = sum(len(row.outcomes) for row in self.rows.values())
        table.append(("total", str(cases), *_counts(total), ""))
        return [*_aligned(table), *self.notes]


def _cells(name: str, row: Row) -> Sequence[str]:
    return (name, str(len(row.outcomes)), *_counts(row.tally), row.result())


def _counts(tally: Tally) -> tuple[str, ...]:
    return tuple(str(getattr(tally, each.name)) for each in fields(tally))


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        )
        for cells in table
    ]


def fault(row: str) -> pytest.MarkDecorator:
    """Says which row of the report a test belongs to."""
    assert row in ROWS, row
    return pytest.mark.fault(row)
