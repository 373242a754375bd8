"""Processes that die by kill -9: of the pair in the soak's first third, of the workers all along.

Growth is judged over the last half: what was started last has filled its caches by then.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field

from bench.soak.notes import Notes
from bench.soak.plan import Plan
from bench.soak.sampler import services

WAYS = (("proxy",), ("control",), ("proxy", "control"))


@dataclass
class Kills:
    """Kills now and then, and notes how long the proxy took to be back, in seconds."""

    plan: Plan
    notes: Notes
    chance: random.Random
    until: float
    """On the monotonic clock: from then on the pair is left alone."""
    back: list[float] = field(default_factory=list[float])

    async def run(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(self.plan.killing * self.chance.uniform(0.8, 1.2))
            turn += 1
            if time.monotonic() > self.until or turn % 4 == 0:
                await self._kill_worker()
            else:
                await self._kill(WAYS[turn % 4 - 1])

    async def _kill(self, names: tuple[str, ...]) -> None:
        found = services(self.plan.pids())
        for name in names:
            if name in found:
                os.kill(found[name], signal.SIGKILL)
                self.notes.counts[f"kill -9 of {name}"] += 1
        if "proxy" not in names:
            return
        begun = time.monotonic()
        while not await asyncio.to_thread(self.plan.healthy):  # noqa: ASYNC110  # another process's
            await asyncio.sleep(0.05)
        self.back.append(time.monotonic() - begun)

    async def _kill_worker(self) -> None:
        worker = self.chance.choice(self.plan.workers)
        await asyncio.to_thread(worker.stop, signal.SIGKILL)
        await asyncio.sleep(self.chance.uniform(0, 3))
        worker.start()
        self.notes.counts["kill -9 of a worker"] += 1
