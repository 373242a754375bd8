"""A gateway that runs: its whole tree of processes is what is measured."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import answers, free_port

from bench.compare.load import Loaded
from bench.compare.targets import DIRECT, Places, Target
from bench.processes import children, cpu_seconds, memory
from bench.sampling import Sampling

PATIENCE = 90.0
"""Seconds until a gateway must answer, or have ended."""
QUIET = 0.3
"""Seconds that a tree must have used next to no CPU, for its asynchronous writes to be over."""
NO_CPU = 0.02
MIB = 1 << 20
MEMORY_PAUSE = 0.05
PROXY = "rolltrace_proxy"
LONGEST = 400.0
"""Seconds that one load may take."""


class Failed(RuntimeError):
    """A target that did not come up or went away: its figures are missing, and the others' are not."""


class Gateway:
    """One target. `started` tells how many seconds it took to answer, `own_mib` the most that Rolltrace's
    proxy had for itself, without the pages of files, while a load ran."""

    def __init__(self, target: Target, worker_port: int, folder: Path) -> None:
        self.target = target
        self.started = 0.0
        port = worker_port if target.name == DIRECT else free_port()
        self.places = Places(port, free_port(), worker_port, folder)
        self.own_mib = 0.0
        self._begun = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.places.port}"

    def start(self) -> None:
        self.places.folder.mkdir(parents=True)
        command = self.target.command(self.places)
        if not command:
            return
        environment = {**os.environ, "HOME": str(self.places.folder)}
        self._begun = time.monotonic()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers. Raises Failed when it does not."""
        if self._process is None:
            return
        while not answers(f"{self.url}/health"):
            if self._process.poll() is not None or time.monotonic() > self._begun + PATIENCE:
                raise Failed(f"{self.target.name} did not come up:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.started = time.monotonic() - self._begun

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """Ends the process that was started, and what it left of its group."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @property
    def _log(self) -> Path:
        return self.places.folder / "log"

    def tree(self) -> list[tuple[int, str]]:
        """All its processes as (pid, command line)."""
        found = [] if self._process is None else [(self._process.pid, "")]
        for pid, _ in found:  # grows meanwhile
            with contextlib.suppress(OSError):
                found += children(pid)
        return found

    def cpu(self) -> float:
        total = 0.0
        for pid, _ in self.tree():
            with contextlib.suppress(OSError):
                total += cpu_seconds(pid)
        return total

    def quiet_cpu(self) -> float:
        """Seconds of CPU once the tree has gone quiet."""
        last, deadline = self.cpu(), time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            time.sleep(QUIET)
            now = self.cpu()
            if now - last < NO_CPU:
                return now
            last = now
        return last

    def peak_mib(self) -> tuple[float, float]:
        """The most that was resident: of the whole tree (a sum of peaks), and of Rolltrace's proxy."""
        whole = proxy = 0.0
        for pid, command in self.tree():
            with contextlib.suppress(OSError):
                peak = memory(pid).peak / MIB
                whole += peak
                proxy += peak if PROXY in command else 0.0
        return whole, proxy

    def disk(self) -> int:
        """Bytes below its data."""
        files = (self.places.folder / "data").rglob("*")
        return sum(path.stat().st_blocks * 512 for path in files if path.is_file())

    def load(self, arguments: str) -> tuple[Loaded, float]:
        """Runs the load on it. Returns what was seen, and the CPU seconds until all was written."""
        before = self.cpu()
        proxies = [pid for pid, command in self.tree() if PROXY in command]
        with Sampling(lambda: sum(memory(pid).own for pid in proxies), MEMORY_PAUSE) as own:
            seen = loaded(self.places.port, self.target.path, arguments)
        self.own_mib = max([self.own_mib * MIB, *own.seen]) / MIB
        return seen, self.quiet_cpu() - before

    def get(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(
            self.url + path, method=method, data=b"{}" if method == "POST" else None
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return bytes(answer.read())


def loaded(port: int, path: str, arguments: str, cores: Collection[int] = ()) -> Loaded:
    """Runs the load in a process of its own, if told so on these cores alone. Raises Failed."""
    own = ["--port", str(port), "--path", path]
    command = [sys.executable, "-m", "bench.compare.load", *own, *arguments.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if cores:
            pin(process.pid, cores)
        try:
            said, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"the load has not ended in {LONGEST:.0f} seconds") from None
    if process.returncode:
        raise Failed(f"the load ended with {process.returncode}")
    return Loaded(**json.loads(said))


def pin(pid: int, cores: Collection[int]) -> None:
    """Its threads, and what they start."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


@contextlib.contextmanager
def running(targets: Iterator[Target], worker_port: int, folder: Path) -> Generator[list[Gateway]]:
    """All that come up, at once, so that they can be visited in turn."""
    gateways = [Gateway(target, worker_port, folder / target.name.replace(", ", "-")) for target in targets]
    there: list[Gateway] = []
    try:
        for gateway in gateways:
            gateway.start()
        for gateway in gateways:
            try:
                gateway.wait()
                there.append(gateway)
            except Failed as error:
                print(error, file=sys.stderr)
        for gateway in there:
            gateway.quiet_cpu()
        yield there
    finally:
        for gateway in gateways:
            gateway.terminate()
        for gateway in gateways:
            gateway.stop()


@dataclass(frozen=True)
class Worker:
    port: int
    pid: int


@contextlib.contextmanager
def worker(arguments: str, folder: Path) -> Generator[Worker]:
    """The fast worker in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "bench.compare.worker", "--port", str(port), *arguments.split()]
    with (folder / "worker.log").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"the worker did not come up:\n{(folder / 'worker.log').read_text()[-2000:]}")
            time.sleep(0.02)
        yield Worker(port, process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE)
