"""How long a trace takes from its commit in the proxy to a subscriber's hands, at so many calls a second.

Every part is a process of its own: the fast worker, the control service, the subscriber, the load, and a
proxy that notes its commits. All clocks are the machine's monotonic one. The first tenth is a warm-up.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import grpc
from tests.servers import answers, free_port

from bench.compare.gateway import PATIENCE, Failed, loaded, worker
from bench.compare.load import Loaded
from bench.compare.rows import Row
from bench.compare.targets import MINE, MINE_POWER, SESSION_PATH
from bench.pair import Child, running
from bench.watch import quantile

RATES = (100, 1000)
SECONDS = 4
AGENTS = 50
SHOWN = {"delivery": ("calls/s", "p50 ms", "p99 ms", "most ms")}
DURABILITIES = {MINE: "process", MINE_POWER: "power"}


def measure(rounds: int) -> Iterator[Row]:
    for number in range(rounds // 2 or 1):
        for name, durability in DURABILITIES.items():
            for rate in RATES:
                try:
                    found = _figures(durability, rate)
                except (Failed, OSError, RuntimeError, subprocess.SubprocessError) as error:
                    print(f"delivery: {name}: {error}", file=sys.stderr)
                    found = {"errors": 1.0}
                yield Row("delivery", f"{name}, {rate} a second", number, found)


def _figures(durability: str, rate: int) -> dict[str, float]:
    seen, times = _run(durability, rate)
    warm = sorted(times[len(times) // 10 :])
    return {
        "calls/s": seen.per_second,
        "p50 ms": 1e3 * quantile(warm, 0.5),
        "p99 ms": 1e3 * quantile(warm, 0.99),
        "most ms": 1e3 * warm[-1],
        "errors": float(len(seen.errors)),
    }


def _run(durability: str, rate: int) -> tuple[Loaded, list[float]]:
    """What the load saw, and the seconds from commit to delivery of each trace in the order of commits."""
    port, control_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name, worker("--prompt 1000 --tokens 200", Path(name)) as served:
        settings = f"--port {port} --control-port {control_port} --durability {durability}".split()
        settings += ["--db-path", f"{name}/data", "--worker", f"http://127.0.0.1:{served.port}"]
        control = Child("rolltrace_control", settings, Path(name) / "control.log")
        target = f"127.0.0.1:{control_port}"
        calls = rate * SECONDS
        load = f"--connections {AGENTS} --turns {calls // AGENTS} --bytes 4000 --rate {rate}"
        with (
            running(control, lambda: _is_up(target)),
            _listener(target, calls) as listener,
            _stamped(settings, f"http://127.0.0.1:{port}/health") as proxy,
        ):
            seen = loaded(port, SESSION_PATH, load)
            if seen.errors:
                raise Failed(f"{len(seen.errors)} calls failed: {seen.errors[:3]}")
            received = _times(listener.communicate(timeout=PATIENCE)[0])
            proxy.terminate()
            committed = _times(proxy.communicate(timeout=PATIENCE)[0])
    if missing := committed.keys() - received.keys():
        raise Failed(f"{len(missing)} traces were committed and not delivered")
    return seen, [(received[trace_id] - at) / 1e9 for trace_id, at in committed.items()]


def _times(said: bytes) -> dict[str, int]:
    return {trace_id: int(at) for trace_id, at in map(str.split, said.decode().splitlines())}


def _is_up(target: str) -> bool:
    with grpc.insecure_channel(target) as channel, contextlib.suppress(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=0.5)
        return True
    return False


@contextlib.contextmanager
def _listener(target: str, calls: int) -> Generator[subprocess.Popen[bytes]]:
    """The subscriber, once it has its header."""
    with _process(["bench.listener", target, str(calls)]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


@contextlib.contextmanager
def _stamped(settings: Sequence[str], health: str) -> Generator[subprocess.Popen[bytes]]:
    with _process(["bench.stamped_proxy", "--log-level", "error", *settings]) as process:
        while not answers(health):
            if process.poll() is not None:
                raise Failed(f"the proxy ended with {process.returncode}")
        yield process


@contextlib.contextmanager
def _process(arguments: Sequence[str]) -> Generator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
