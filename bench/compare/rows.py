"""What was measured, and what follows from it. Pure.

Rules. What is told against direct's or nginx's is taken within a round, where the machine was the same for
both, and only then is the median of the rounds taken. Every figure keeps its spread: the least and the most
of the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.compare.targets import DIRECT, NGINX


@dataclass(frozen=True, slots=True)
class Row:
    """One target in one round of a scenario. The key of a value is its name and unit, as it is printed."""

    scenario: str
    target: str
    round: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a figure in several rounds."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return short(self.median)
        return f"{short(self.median)} ({short(self.least)}-{short(self.most)})"


def short(value: float) -> str:
    """Three digits, or all of those before the point."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.3g}" if size >= 1 else f"{value:.2g}"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def with_ratios(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, each with what it adds to `direct`'s latency and its part of nginx's calls, of its round."""
    rows = list(rows)
    found = {(row.scenario, row.target, row.round): row.values for row in rows}
    for row in rows:
        values = dict(row.values)
        direct = found.get((row.scenario, DIRECT, row.round))
        if direct and row.target != DIRECT and "mean ms" in values and "mean ms" in direct:
            values["added p50 ms"] = values["p50 ms"] - direct["p50 ms"]
            values["added p99 ms"] = values["p99 ms"] - direct["p99 ms"]
            values["added time %"] = 100 * (values["mean ms"] / direct["mean ms"] - 1)
        nginx = found.get((row.scenario, NGINX, row.round))
        if nginx and "calls/s" in values and "calls/s" in nginx:
            values["of nginx's calls %"] = 100 * values["calls/s"] / nginx["calls/s"]
        yield Row(row.scenario, row.target, row.round, values)


def spreads(rows: Iterable[Row]) -> dict[tuple[str, str], dict[str, Spread]]:
    """By scenario and target: each value over the rounds, in the order in which they were measured."""
    gathered: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        of_target = gathered.setdefault((row.scenario, row.target), {})
        for name, value in row.values.items():
            of_target.setdefault(name, []).append(value)
    return {
        key: {name: spread(values) for name, values in of_target.items()}
        for key, of_target in gathered.items()
    }
