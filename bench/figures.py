"""A measured number beside what it should be at most, as the benchmarks print it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number, and the most that it should be (None: just to know)."""

    name: str
    value: float
    unit: str
    most: float | None = None

    @property
    def good(self) -> bool:
        return self.most is None or self.value <= self.most

    def __str__(self) -> str:
        line = f"  {self.name:<58}{self.value:>9.2f} {self.unit:<3}"
        if self.most is None:
            return line
        return f"{line} at most {self.most:g}   {'ok' if self.good else 'OVER'}"
