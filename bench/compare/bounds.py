"""What each figure should be at most or at least, and whether it is; of medians. Pure.

Times are bounded twice: by themselves, as on the machine that the bounds were set on, and beside another
gateway, which holds on any machine and on a busy one. Of a scenario that was measured, every bound gets a
verdict: what is missing is told to be, and a row with errors meets nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.compare.rows import Spread, short
from bench.compare.targets import MINE, MINE_POWER, RLLM, ROUTER

REST = f"{MINE}, REST"
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
    Bound("e", "read CPU ms", 1 / 10, REST, beside=RLLM),
    Bound("turns", "disk KB/turn", 1.15, f"{MINE}, 200 turns", beside=f"{MINE}, 100 turns"),
    Bound("turns", "disk KB/turn", 1.15, f"{MINE}, 400 turns", beside=f"{MINE}, 100 turns"),
    Bound("turns", "of the line's %", 115, f"{MINE}, 400 turns"),
    Bound("proxies", "of one's %", 170, f"{MINE}, 2 proxies", at_least=True),
    Bound("subscribe", "traces/s", 25_000, f"{MINE}, FULL", at_least=True),
    Bound("subscribe", "traces/s", 60_000, f"{MINE}, COMPACT", at_least=True),
    Bound("delivery", "calls/s", 950, f"{MINE}, 1000 a second", at_least=True),
    Bound("delivery", "p50 ms", 2, f"{MINE}, 1000 a second"),
    Bound("delivery", "p99 ms", 10, f"{MINE}, 1000 a second"),
    Bound("idle", "open at once", 4_950, MINE_POWER, at_least=True),
    Bound("idle", "KB/stream", 60, MINE_POWER),
    Bound("start", "healthy after s", 1.2),
    Bound("start", "client import ms", 150),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reached` is a median, or None of what was not measured; `errors` of the row that is judged."""

    bound: Bound
    reached: float | None
    errors: float = 0

    @property
    def good(self) -> bool:
        return self.times <= 1 and not self.errors

    @property
    def times(self) -> float:
        """How far it is from its limit: above 1 is too much."""
        if self.reached is None:
            return float("inf")
        if self.bound.at_least:
            return self.bound.limit / self.reached if self.reached else float("inf")
        return self.reached / self.bound.limit

    def cells(self) -> list[str]:
        bound = self.bound
        what = f"{bound.value} of {bound.target}" + (f", against {bound.beside}" if bound.beside else "")
        limit = f"{'at least' if bound.at_least else 'at most'} {short(bound.limit)}"
        return [bound.scenario, what, limit, "-" if self.reached is None else short(self.reached), str(self)]

    def __str__(self) -> str:
        if self.reached is None:
            return f"not measured: {self.bound.beside or self.bound.target} is missing"
        if self.errors:
            return "**errors**"
        return "met" if self.good else f"**missed**, {self.times:.2f} times"


def verdicts(measured: Measured) -> Iterator[Verdict]:
    """One for each bound of the scenarios that were measured."""
    scenarios = {scenario for scenario, _ in measured}
    for bound in BOUNDS:
        if bound.scenario in scenarios:
            row = measured.get((bound.scenario, bound.target), {})
            yield Verdict(bound, _reached(measured, bound), row["errors"].most if "errors" in row else 0)


def _reached(measured: Measured, bound: Bound) -> float | None:
    reached = _median(measured, bound, bound.target)
    if not bound.beside or reached is None:
        return reached
    other = _median(measured, bound, bound.beside)
    return reached / other if other else None


def _median(measured: Measured, bound: Bound, target: str) -> float | None:
    found = measured.get((bound.scenario, target), {}).get(bound.value)
    return None if found is None else found.median
