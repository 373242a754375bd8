"""The services as processes of their own, started as a user starts them: what they hold is all theirs."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import grpc
from tests.servers import answers, free_port

PATIENCE = 60.0
"""Seconds until a process must answer, or have ended."""


class Child:
    """One process, started anew by each `start`. Its output goes to `log`."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    def start(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Raises RuntimeError with the end of its log when it is not `ready` in time."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[2]} did not come up:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(PATIENCE)


@contextlib.contextmanager
def running(child: Child, ready: Callable[[], bool] = lambda: True) -> Generator[Child]:
    try:
        child.start(ready)
        yield child
    finally:
        child.stop()


class Pair:
    """One proxy and the control service, with their settings' defaults."""

    def __init__(self, folder: Path, worker_url: str) -> None:
        port, control_port = free_port(), free_port()
        self.port, self.url, self.target = port, f"http://127.0.0.1:{port}", f"127.0.0.1:{control_port}"
        settings = f"--port {port} --control-port {control_port} --db-path {folder / 'data'}".split()
        settings += ["--worker", worker_url]
        self.control = Child("rolltrace_control", settings, folder / "control.log")
        self.proxy = Child("rolltrace_proxy", settings, folder / "proxy.log")

    def control_answers(self) -> bool:
        with grpc.insecure_channel(self.target) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=0.5)
            except grpc.FutureTimeoutError:
                return False
        return True

    def proxy_answers(self) -> bool:
        return answers(f"{self.url}/health")


@contextlib.contextmanager
def running_pair(folder: Path, worker_url: str) -> Generator[Pair]:
    pair = Pair(folder, worker_url)
    with running(pair.control, pair.control_answers), running(pair.proxy, pair.proxy_answers):
        yield pair
