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
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.faults.nursery import Order
from tests.servers import answers, free_port

MODULES = ("rolltrace_proxy", "rolltrace_control")
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

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.order = Order(module, list(arguments), str(log), dict(environment or {}))
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

    def __init__(self, folder: Path, worker_url: str = "", /, **settings: object) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.url, self.target = f"http://127.0.0.1:{self.port}", f"127.0.0.1:{self.control_port}"
        self.db_path = Path(str(settings.pop("db_path", folder / "data")))
        told: dict[str, object] = {
            "max_db_size": 1 << 30,
            "port": self.port,
            "control_port": self.control_port,
        }
        told |= {"db_path": self.db_path, "log_level": "warning", **settings}
        self.max_db_size = int(str(told["max_db_size"]))
        self.environment = {f"ROLLTRACE_{name.upper()}": str(value) for name, value in told.items()}
        worker = ["--worker", worker_url] if worker_url else []
        self.control = Child("rolltrace_control", worker, folder / "control.log", self.environment)
        self.proxy = Child("rolltrace_proxy", worker, folder / "proxy.log", self.environment)

    def start_control(self) -> None:
        self.control.start()
        self.control.await_ready(self._control_answers)

    def start_proxy(self) -> None:
        self.proxy.start()
        self.proxy.await_ready(self.proxy_answers)

    def proxy_answers(self) -> bool:
        return answers(f"{self.url}/health")

    def idle(self) -> bool:
        """Whether the proxy runs no call."""
        with urllib.request.urlopen(f"{self.url}/health", timeout=PATIENCE) as answer:
            return b'"calls_in_flight": 0' in answer.read()

    def _control_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.control_port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True


class Supervised(Pair):
    """The same, kept running by `rolltrace up`; its children start as they do for a user."""

    def __init__(self, folder: Path, worker_url: str = "", /, **settings: object) -> None:
        super().__init__(folder, worker_url, **settings)
        self.up = Child(
            "rolltrace_client", ["up", *self.control.order.arguments], folder / "up.log", self.environment
        )
        self._left: list[int] = []

    def start(self) -> None:
        """Tries again, as who supervises supervisors does, while the old children still hold the ports. What
        these answer does not count."""
        deadline = time.monotonic() + PATIENCE
        self.up.start()
        while self._outlived() or not self.answers():
            assert time.monotonic() < deadline, self.up.log.read_text()[-2000:]
            if self.up.dead():
                self.up.wait()
                self.up.start()
            time.sleep(0.02)

    def kill(self) -> None:
        """Kills the supervisor; its children have to end by themselves."""
        self._left = [os.pidfd_open(pid) for pid in map(self.child, MODULES) if pid]
        self.up.kill()

    def _outlived(self) -> bool:
        """Whether a child of the supervisor that was killed still runs."""
        ended, _, _ = select.select(self._left, [], [], 0)
        for fd in ended:
            self._left.remove(fd)
            os.close(fd)
        return bool(self._left)

    def answers(self) -> bool:
        """Whether both services do."""
        return self.proxy_answers() and self._control_answers()

    def child(self, module: str) -> int:
        """The pid of the child that runs `module`; 0 while there is none."""
        children = Path(f"/proc/{self.up.pid}/task/{self.up.pid}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return int(pid)
        return 0

    def kill_child(self, module: str) -> float:
        """Kills it; returns the seconds until its successor answered."""
        killed, before = time.monotonic(), self.child(module)
        assert before, f"{module} does not run"  # 0 would be this process and all of its group
        os.kill(before, signal.SIGKILL)
        deadline = killed + PATIENCE
        while self.child(module) in (0, before) or not self.answers():
            assert time.monotonic() < deadline, self.up.log.read_text()[-2000:]
            time.sleep(0.01)
        return time.monotonic() - killed


@contextlib.contextmanager
def running_pair(folder: Path, worker_url: str = "", /, **settings: object) -> Generator[Pair]:
    """A pair with both processes up; whatever still runs at the end is stopped."""
    pair = Pair(folder, worker_url, **settings)
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
