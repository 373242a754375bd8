"""Asks every worker for its health and its engine, and writes to the store only what changes. A shell.

A worker is asked once which engine it runs, when it is first found to answer, and again after a check that
failed or a change of how it is asked, since another server may stand there then.

Checks of different workers run side by side and begin at random moments, so that a slow worker delays
nobody and a large pool is not asked all at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from rolltrace.v1 import worker_pb2 as pb
from rolltrace_control.engine_check import ask_engine
from rolltrace_control.health_rules import Checks, Outcome, outcome_of_status
from rolltrace_control.http_check import status_of
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import Store, WriteView

_JITTER = 0.25
_HEALTHY = pb.WORKER_HEALTH_HEALTHY

log = logging.getLogger(__name__)


class Prober:
    """The active health checks."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._interval = settings.health_interval
        self._timeout = settings.health_timeout
        self._checks: dict[str, Checks] = {}
        self._told: dict[str, tuple[str, ...]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Checks until the block ends."""
        rounds = asyncio.create_task(self._rounds(), name="prober")
        try:
            yield
        finally:
            tasks = [rounds, *self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _rounds(self) -> None:
        while True:
            try:
                await self._begin_round()
            except Exception:
                log.exception("workers cannot be checked; trying again")
            await asyncio.sleep(self._interval)

    async def _begin_round(self) -> None:
        workers = {worker.worker_id: worker for worker in await self._store.read(lambda v: v.workers())}
        self._checks = {worker_id: self._checks.get(worker_id, Checks()) for worker_id in workers}
        self._told = {worker_id: asked for worker_id, asked in self._told.items() if worker_id in workers}
        for worker_id, worker in workers.items():
            if worker_id not in self._running:
                task = asyncio.create_task(self._check(worker), name=f"check-{worker_id}")
                self._running[worker_id] = task
                task.add_done_callback(partial(self._ended, worker_id))

    def _ended(self, worker_id: str, _: asyncio.Task[None]) -> None:
        del self._running[worker_id]

    async def _check(self, worker: pb.Worker) -> None:
        if worker.health != pb.WORKER_HEALTH_UNKNOWN:
            await asyncio.sleep(random.uniform(0, _JITTER * self._interval))
        outcome, message = await self._ask(worker)
        checks = self._checks.get(worker.worker_id, Checks()).after(outcome)
        self._checks[worker.worker_id] = checks
        health = checks.health(worker.health)
        engine = await self._engine(worker, outcome)
        if (health, engine) == (worker.health, worker.detected_engine):
            return
        try:
            await self._store.write(lambda view: _note(view, worker, health, message, engine))
        except Exception:
            log.exception("the health of worker %s cannot be written; the next check does", worker.worker_id)
            self._told.pop(worker.worker_id, None)
        else:
            _tell(worker, health, message, engine)

    async def _engine(self, worker: pb.Worker, outcome: Outcome) -> str:
        """The engine that the worker says it is, as far as it is known after this check."""
        if outcome is Outcome.FAILED:
            self._told.pop(worker.worker_id, None)
        asked = (worker.url, worker.api_path, worker.api_key)
        if outcome is not Outcome.ANSWERED or self._told.get(worker.worker_id) == asked:
            return worker.detected_engine
        told = await ask_engine(worker, self._timeout)
        if told is None:
            return worker.detected_engine
        self._told[worker.worker_id] = asked
        return told

    async def _ask(self, worker: pb.Worker) -> tuple[Outcome, str]:
        """One check: its outcome, and in words what was wrong."""
        url, total = f"{worker.url}/health", self._timeout
        try:
            status = await status_of(url, worker.ca_pem, connect=total / 2, total=total)
        except TimeoutError:
            return Outcome.SLOW, f"/health took longer than {total} s"
        except (OSError, ValueError) as error:
            return Outcome.FAILED, str(error) or type(error).__name__
        outcome = outcome_of_status(status)
        return outcome, "" if outcome is Outcome.ANSWERED else f"/health answered {status}"


def _note(
    view: WriteView, checked: pb.Worker, health: pb.WorkerHealth.ValueType, message: str, engine: str
) -> None:
    """Writes what a check found, unless the worker was removed or replaced meanwhile."""
    worker = view.worker(checked.worker_id)
    if worker is None or worker.url != checked.url:
        return
    if (worker.health, worker.detected_engine) == (health, engine):
        return
    if worker.health != health:
        worker.health = health
        worker.health_message = "" if health == _HEALTHY else message
        worker.health_change_time.GetCurrentTime()
    worker.detected_engine = engine
    view.put_worker(worker)


def _tell(before: pb.Worker, health: pb.WorkerHealth.ValueType, message: str, engine: str) -> None:
    if health != before.health:
        word = pb.WorkerHealth.Name(health).removeprefix("WORKER_HEALTH_").lower()
        log.info("worker %s is %s%s", before.worker_id, word, message and f": {message}")
    if engine != before.detected_engine:
        log.info("worker %s says that it is %s", before.worker_id, engine or "none that is known")
