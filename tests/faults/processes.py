"""A worker, a control process and a proxy that a test can start, kill and start again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from functools import cache
from pathlib import Path

from tests.faults.nursery import Order
from tests.servers import answers, free_port

PATIENCE = 60.0
"""Seconds that anything may take on a machine that has much else to do."""


@cache
def _nursery() -> subprocess.Popen[str]:
    """Lives as long as this process: the end of its stdin ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.nursery"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _spawn(order: Order) -> int:
    nursery = _nursery()
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(json.dumps(dataclasses.asdict(order)) + "\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


class Child:
    """One process, started anew by each `start`. Its output goes to `log`."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self.order = Order(module, list(arguments), str(log))
        self.log = log
        self.pid = 0
        self._fd = -1

    def start(self) -> None:
        assert self._fd < 0
        self.pid = _spawn(self.order)
        self._fd = os.pidfd_open(self.pid)

    def send(self, how: signal.Signals) -> None:
        signal.pidfd_send_signal(self._fd, how)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Signals it, if it runs, and waits for its end."""
        if self._fd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            self.send(how)
        self.wait()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def wait(self) -> None:
        """Until it has ended by itself."""
        assert self._ended(PATIENCE), f"{self.order.module} does not end"
        os.close(self._fd)
        self._fd = -1

    def dead(self) -> bool:
        return self._fd < 0 or self._ended(0)

    def _ended(self, timeout: float) -> bool:
        return bool(select.select([self._fd], [], [], timeout)[0])

    def await_ready(self, ready: Callable[[], bool]) -> None:
        """Waits until `ready` says so; fails with the end of its log."""
        deadline = time.monotonic() + PATIENCE
        while not ready():
            assert not self.dead(), self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.01)


class Pair:
    """The processes of one environment. Ports stay the same over restarts."""

    def __init__(self, folder: Path, worker_url: str = "", *more: str) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.url, self.target = f"http://127.0.0.1:{self.port}", f"127.0.0.1:{self.control_port}"
        self.db_path = folder / "data"
        settings = ["--port", str(self.port), "--control-port", str(self.control_port)]
        settings += ["--db-path", str(self.db_path), *more]
        worker = ["--worker", worker_url] if worker_url else []
        self.control = Child("rolltrace_control", [*settings, *worker], folder / "control.log")
        self.proxy = Child("rolltrace_proxy", settings, folder / "proxy.log")

    def start_control(self) -> None:
        self.control.start()
        self.control.await_ready(self._control_answers)

    def start_proxy(self) -> None:
        self.proxy.start()
        self.proxy.await_ready(self.proxy_answers)

    def proxy_answers(self) -> bool:
        return answers(f"{self.url}/health")

    def _control_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.control_port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True


@contextlib.contextmanager
def running_pair(folder: Path, worker_url: str = "", *more: str) -> Generator[Pair]:
    """A pair with both processes up; whatever still runs at the end is stopped."""
    pair = Pair(folder, worker_url, *more)
    try:
        pair.start_control()
        pair.start_proxy()
        yield pair
    finally:
        pair.proxy.stop()
        pair.control.stop()


@contextlib.contextmanager
def running_worker(folder: Path, *more: str) -> Generator[str]:
    """The demo worker in a process of its own; gives its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    child = Child("rolltrace_demo", ["worker", "--port", str(port), *more], folder / "worker.log")
    child.start()
    try:
        child.await_ready(lambda: answers(f"{url}/health"))
        yield url
    finally:
        child.stop()
