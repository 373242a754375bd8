"""Keeps the children of `rolltrace up` running, and stops them. A shell: supervision.py decides.

Children are stopped in the order of the plan, each stage with its own time to drain: the proxies first,
then the control service, so that trainers still get the last traces. A second signal kills at once.
SIGHUP, which makes services read their certificate and tokens again, is passed on.
A child runs in a process group of its own: Ctrl-C reaches the supervisor alone, which drains.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .supervision import Ended, GiveUp, after_end, in_words, until_next_look

log = logging.getLogger("rolltrace.up")

STILL_WAITING = 10.0


@dataclass(slots=True)
class Child:
    """One process that is kept running: `python -m MODULE ARGUMENT...` with these variables."""

    name: str
    module: str
    environment: Mapping[str, str]
    stage: int
    is_healthy: Callable[[], Awaitable[bool]]
    arguments: Sequence[str] = ()
    ended: Callable[[int], None] = lambda pid: None
    process: Process | None = None
    was_healthy: bool = False

    def send(self, number: signal.Signals) -> None:
        """Signal the process, if it runs."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Supervisor:
    """Runs children until a signal comes or one is given up."""

    def __init__(self, children: Sequence[Child], stage_timeout: float) -> None:
        self._children = children
        self._stage_timeout = stage_timeout
        self._stopping = asyncio.Event()
        self._killing = asyncio.Event()
        self._exit_status = 0
        self._terminal = os.isatty(0)

    async def run(self, when_up: Callable[[], None]) -> int:
        """Start all, call `when_up` once all are healthy, and return the exit status at the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        keepers = {child.name: asyncio.create_task(self._keep(child)) for child in self._children}
        for keeper in keepers.values():
            keeper.add_done_callback(lambda _: self._stopping.set())
        announcer = asyncio.create_task(self._announce(when_up))
        await self._stopping.wait()
        announcer.cancel()
        await self._stop(keepers)
        await asyncio.gather(announcer, return_exceptions=True)
        return self._exit_status

    def _signalled(self) -> None:
        if self._stopping.is_set():
            self._killing.set()
        else:
            log.info("stopping: running calls may end; another signal kills at once")
            self._stopping.set()

    def _hung_up(self) -> None:
        """A reload; or the end of the terminal in which this runs, as for any command."""
        if self._terminal and not os.isatty(0):
            self._signalled()
        else:
            _send(self._children, signal.SIGHUP)

    async def _keep(self, child: Child) -> None:
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            returncode = await self._run_once(child)
            if self._stopping.is_set():
                return
            decision = after_end(Ended(returncode, time.monotonic() - started, child.was_healthy), failures)
            if isinstance(decision, GiveUp):
                log.error("%s %s and is not started again", child.name, in_words(returncode))
                self._exit_status = decision.exit_status
                self._stopping.set()
                return
            failures = decision.failures
            log.warning("%s %s; it starts again in %.1f s", child.name, in_words(returncode), decision.pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), decision.pause)

    async def _run_once(self, child: Child) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "rolltrace_client.leash", child.module),
            *child.arguments,
            stdin=PIPE,
            env=child.environment,
            process_group=0,
        )
        child.process = process
        if self._stopping.is_set():
            child.send(signal.SIGTERM)
        log.debug("%s runs as process %d", child.name, process.pid)
        returncode = await process.wait()
        child.ended(process.pid)
        return returncode

    async def _announce(self, when_up: Callable[[], None]) -> None:
        await asyncio.gather(*(self._until_healthy(child) for child in self._children))
        when_up()

    async def _until_healthy(self, child: Child) -> None:
        began = time.monotonic()
        remind_at = began + STILL_WAITING
        while not await child.is_healthy():
            await asyncio.sleep(until_next_look(time.monotonic() - began))
            if time.monotonic() > remind_at:
                log.warning("still waiting for %s to be healthy", child.name)
                remind_at += STILL_WAITING
        child.was_healthy = True

    async def _stop(self, keepers: Mapping[str, asyncio.Task[None]]) -> None:
        for stage in sorted({child.stage for child in self._children}):
            children = [child for child in self._children if child.stage == stage]
            ends = asyncio.gather(*(keepers[child.name] for child in children))
            _send(children, signal.SIGTERM)
            if not await self._within(ends):
                log.warning("killing %s", ", ".join(child.name for child in children))
                _send(children, signal.SIGKILL)
            await ends

    async def _within(self, ends: asyncio.Future[list[None]]) -> bool:
        killing = asyncio.ensure_future(self._killing.wait())
        waited: set[asyncio.Future[Any]] = {ends, killing}
        await asyncio.wait(waited, timeout=self._stage_timeout, return_when=asyncio.FIRST_COMPLETED)
        killing.cancel()
        return ends.done()


def _send(children: Sequence[Child], number: signal.Signals) -> None:
    for child in children:
        child.send(number)
