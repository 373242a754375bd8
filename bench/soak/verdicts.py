"""What the samples of a soak say. Decisions only.

A process that leaks grows for as long as it runs, so what counts is how fast it grows while nobody is killed:
over the soak's second half. Caches fill before, and are set small.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.soak.sampler import Sample

MIB = 1 << 20
MOST_GROWTH = 0.10
"""Of a process's memory over the second half, by the line that fits best."""
LEAST_GROWTH = 8 * MIB
"""A process may grow by as much, however small it is."""
MOST_BYTES_RATIO = 1.25
"""Bytes in use for each new token that is kept, at the end against half-way."""
LEAST_MINUTES = 8.0
"""A shorter soak does not tell a leak from a cache that fills."""


@dataclass(frozen=True)
class Verdict:
    """`good` is None where the soak was too short to tell."""

    what: str
    said: str
    good: bool | None

    def __str__(self) -> str:
        word = {True: "ok", False: "BROKEN", None: "too short to tell"}[self.good]
        return f"  {self.what:<34}{word:<19}{self.said}"


JUDGED = ("up", "proxy", "control")


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits best."""
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def _second_half(samples: Sequence[Sample], seconds: float) -> list[Sample]:
    return [sample for sample in samples if seconds / 2 < sample.at <= seconds]


def _judged(half: Sequence[Sample]) -> list[str]:
    return [name for name in JUDGED if half and name in half[-1].processes]


def memory(samples: Sequence[Sample], seconds: float) -> list[Verdict]:
    """One of each process that lived through the second half."""
    half = _second_half(samples, seconds)
    verdicts: list[Verdict] = []
    for name in _judged(half):
        pid = half[-1].processes[name].pid
        own = [
            (s.at, float(s.processes[name].own))
            for s in half
            if name in s.processes and s.processes[name].pid == pid
        ]
        mean, rate = statistics.fmean(size for _, size in own), slope(own)
        grown, most = rate * seconds / 2, max(LEAST_GROWTH, MOST_GROWTH * mean)
        good = grown <= most if seconds >= 60 * LEAST_MINUTES else None
        by = f"{grown / MIB:+.1f} of at most {most / MIB:.1f}"
        said = f"{mean / MIB:.1f} MiB, {rate * 3600 / MIB:+.1f} MiB an hour, {by}"
        verdicts.append(Verdict(f"memory of {name} is flat", said, good))
    return verdicts


def files(samples: Sequence[Sample], seconds: float) -> list[Verdict]:
    """Open files, as memory."""
    half = _second_half(samples, seconds)
    verdicts: list[Verdict] = []
    for name in _judged(half):
        open_files = [(s.at, float(s.processes[name].files)) for s in half if name in s.processes]
        grown = slope(open_files) * seconds / 2
        good = grown <= max(8.0, MOST_GROWTH * open_files[0][1]) if seconds >= 60 * LEAST_MINUTES else None
        verdicts.append(
            Verdict(f"open files of {name} are flat", f"{open_files[-1][1]:.0f}, {grown:+.1f}", good)
        )
    return verdicts


def growth(half: tuple[int, int], end: tuple[int, int], seconds: float) -> Verdict:
    """Each (bytes in use, new tokens that are kept)."""
    first, last = half[0] / max(1, half[1]), end[0] / max(1, end[1])
    good = last <= MOST_BYTES_RATIO * first if seconds >= 60 * LEAST_MINUTES else None
    return Verdict("bytes per new token are flat", f"{first:.1f} half-way, {last:.1f} at the end", good)


def nothing(what: str, broken: Sequence[str], checked: str) -> Verdict:
    """Good when nothing is broken."""
    shown = "".join(f"\n      {each}" for each in broken[:20])
    return Verdict(what, f"{checked}; {len(broken)} broken{shown}", not broken)
