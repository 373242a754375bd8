"""A worker, a control process and a proxy that a test can start, kill and start again."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import grpc

from tests.servers import answers, free_port


class Child:
    """One process, started anew by each `start`. Its output goes to `log`."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self.command = [sys.executable, "-m", module, *arguments]
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.process is None
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=subprocess.STDOUT)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signals it and waits for its end; returns its exit status, or minus the signal."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(30)

    def dead(self) -> bool:
        return self.process is None or self.process.poll() is not None


class Pair:
    """The processes of one environment. Ports stay the same over restarts."""

    def __init__(self, folder: Path, worker_url: str, *more: str) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.url, self.target = f"http://127.0.0.1:{self.port}", f"127.0.0.1:{self.control_port}"
        self.db_path = folder / "data"
        settings = ["--port", str(self.port), "--control-port", str(self.control_port)]
        settings += ["--db-path", str(self.db_path), *more]
        self.control = Child("rolltrace_control", [*settings, "--worker", worker_url], folder / "control.log")
        self.proxy = Child("rolltrace_proxy", settings, folder / "proxy.log")

    def start_control(self) -> None:
        self.control.start()
        self._await(self.control, self._control_answers)

    def start_proxy(self) -> None:
        self.proxy.start()
        self._await(self.proxy, lambda: answers(f"{self.url}/health"))

    def _control_answers(self) -> bool:
        with grpc.insecure_channel(self.target) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=0.5)
            except grpc.FutureTimeoutError:
                return False
        return True

    def _await(self, child: Child, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not ready():
            assert not child.dead(), child.log.read_text()[-2000:]
            assert time.monotonic() < deadline, child.log.read_text()[-2000:]
            time.sleep(0.02)


@contextlib.contextmanager
def running_pair(folder: Path, worker_url: str, *more: str) -> Generator[Pair]:
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
    child = Child("rolltrace_demo", ["worker", "--port", str(port), *more], folder / "worker.log")
    child.start()
    try:
        deadline = time.monotonic() + 30
        while not answers(f"http://127.0.0.1:{port}/health"):
            assert not child.dead(), child.log.read_text()
            assert time.monotonic() < deadline, child.log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()
