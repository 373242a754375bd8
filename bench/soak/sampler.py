"""What the processes of the soak hold as it goes on, and the line that says so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.processes import children, memory, open_files
from bench.soak.notes import Notes
from bench.watch import metrics

MIB = 1 << 20
MODULES = {"proxy": "rolltrace_proxy", "control": "rolltrace_control"}


@dataclass(frozen=True)
class Process:
    """Bytes and a count."""

    pid: int
    own: int
    resident: int
    files: int


@dataclass(frozen=True)
class Sample:
    """`at` in seconds since the soak began. `commit` is the mean wait for one since the sample before."""

    at: float
    processes: dict[str, Process]
    file: int
    tokens: int
    requests: int
    commit: float | None

    def __str__(self) -> str:
        shown = [f"{name} {p.own / MIB:.0f} MiB {p.files} fds" for name, p in self.processes.items()]
        commit = "" if self.commit is None else f", commit {1e3 * self.commit:.1f} ms"
        file = f"file {self.file / MIB:.1f} MiB, {self.tokens:,} new tokens"
        return f"{self.at:7.0f} s  {self.requests:,} requests, {file}, {', '.join(shown)}{commit}"


@dataclass
class Sampler:
    """Takes a sample every `interval` seconds; `pids` are of the supervisor and of the workers by name."""

    pids: Callable[[], dict[str, int]]
    url: str
    db_path: Path
    notes: Notes
    interval: float
    samples: list[Sample] = field(default_factory=list[Sample])
    _commits: tuple[float, float] = (0.0, 0.0)

    async def run(self) -> None:
        begun = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as http:
            while True:
                await asyncio.sleep(self.interval)
                self.samples.append(await self._sample(http, time.monotonic() - begun))
                print(self.samples[-1], flush=True)

    async def _sample(self, http: aiohttp.ClientSession, at: float) -> Sample:
        return Sample(
            at,
            dict(self._processes()),
            os.stat(self.db_path / "data.mdb").st_size,
            self.notes.tokens,
            self.notes.counts["requests"],
            await self._commit(http),
        )

    def _processes(self) -> list[tuple[str, Process]]:
        found: list[tuple[str, Process]] = []
        for name, pid in services(self.pids()).items():
            with contextlib.suppress(OSError):  # ended this moment
                held = memory(pid)
                found.append((name, Process(pid, held.own, held.resident, open_files(pid))))
        return found

    async def _commit(self, http: aiohttp.ClientSession) -> float | None:
        try:
            found = await metrics(http, self.url)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        before, self._commits = (
            self._commits,
            (found["rolltrace_commit_seconds_sum"], found["rolltrace_commit_seconds_count"]),
        )
        total, count = self._commits[0] - before[0], self._commits[1] - before[1]
        return total / count if count > 0 else None


def services(pids: dict[str, int]) -> dict[str, int]:
    """The same with the supervisor's children by their names."""
    found = dict(pids)
    with contextlib.suppress(OSError):
        for pid, command in children(pids["up"]):
            found |= {name: pid for name, module in MODULES.items() if module in command}
    return found
