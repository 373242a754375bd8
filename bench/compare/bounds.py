"""What each figure should be at most or at least, and whether it is; of medians. Pure.

Times are bounded twice: by themselves, as on the machine that the bounds were set on, and beside another
gateway, which holds on any machine and on a busy one. What is measured under another load than a target
speaks of has no bound here: delivery (100 calls a second and not 1,000), a turn's CPU (its request grows as
its history does), reading over HTTP, two proxies. Idle streams are bounded by bench.bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.compare.rows import Spread, short
from bench.compare.targets import MINE, MINE_POWER, RLLM, ROUTER

Measured = Mapping[tuple[str, str], Mapping[str, Spread]]


@dataclass(frozen=True, slots=True)
class Bound:
    """On one value of one row. `at_least` turns it round; `beside` divides by that row's value first."""

    scenario: str
    value: str
    limit: float
    target: str = MINE
    at_least: bool = False
    beside: str = ""


BOUNDS = (
    Bound("a", "CPU ms/call", 0.42),
    Bound("a", "CPU ms/call", 2.1, beside=ROUTER),
    Bound("a", "CPU ms/call", 1 / 20, beside=RLLM),
    Bound("b", "CPU ms/call", 1.2),
    Bound("b", "CPU ms/call", 2.5, beside=ROUTER),
    Bound("b", "CPU ms/call", 1 / 20, beside=RLLM),
    Bound("c", "CPU µs/chunk", 7.1),
    Bound("c", "CPU µs/chunk", 1, beside=ROUTER),
    Bound("c", "CPU µs/chunk", 1 / 15, beside=RLLM),
    Bound("a", "proxy MiB", 86),
    Bound("b", "proxy MiB", 86),
    Bound("c", "proxy MiB", 86),
    Bound("a-latency", "added p50 ms", 1.0),
    Bound("a-latency", "added p99 ms", 4.0),
    Bound("a-latency", "added p50 ms", 3.0, MINE_POWER),
    Bound("a-latency", "added p99 ms", 12.0, MINE_POWER),
    Bound("d50", "added p50 ms", 2.0),
    Bound("d50", "CPU µs/chunk", 45),
    Bound("d50", "CPU µs/chunk", 1.5, beside=ROUTER),
    Bound("d50", "CPU µs/chunk", 1 / 6, beside=RLLM),
    Bound("d", "added time %", 3),
    Bound("d", "of nginx's calls %", 95, at_least=True),
    Bound("e", "disk MB", 0.45),
    Bound("e", "read CPU ms", 30),
    Bound("e", "read MB", 0.5),
    Bound("turns", "disk KB/turn", 1.15, f"{MINE}, 200 turns", beside=f"{MINE}, 100 turns"),
    Bound("turns", "disk KB/turn", 1.15, f"{MINE}, 400 turns", beside=f"{MINE}, 100 turns"),
    Bound("subscribe", "traces/s", 25_000, f"{MINE}, FULL", at_least=True),
    Bound("subscribe", "traces/s", 60_000, f"{MINE}, COMPACT", at_least=True),
    Bound("start", "healthy after s", 1.2),
    Bound("start", "client import ms", 150),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    bound: Bound
    reached: float

    @property
    def good(self) -> bool:
        return self.reached >= self.bound.limit if self.bound.at_least else self.reached <= self.bound.limit

    @property
    def times(self) -> float:
        """How far it is from its limit: above 1 is too much."""
        if self.bound.at_least:
            return self.bound.limit / self.reached if self.reached else float("inf")
        return self.reached / self.bound.limit

    def cells(self) -> list[str]:
        bound = self.bound
        what = f"{bound.value} of {bound.target}" + (f", against {bound.beside}" if bound.beside else "")
        limit = f"{'at least' if bound.at_least else 'at most'} {short(bound.limit)}"
        verdict = "met" if self.good else f"**missed**, {self.times:.1f} times"
        return [bound.scenario, what, limit, short(self.reached), verdict]


def verdicts(measured: Measured) -> Iterator[Verdict]:
    """One for each bound whose values were measured; of medians."""
    for bound in BOUNDS:
        reached = _median(measured, bound.scenario, bound.target, bound.value)
        if bound.beside and reached is not None:
            other = _median(measured, bound.scenario, bound.beside, bound.value)
            reached = reached / other if other else None
        if reached is not None:
            yield Verdict(bound, reached)


def _median(measured: Measured, scenario: str, target: str, value: str) -> float | None:
    found = measured.get((scenario, target), {}).get(value)
    return None if found is None else found.median
