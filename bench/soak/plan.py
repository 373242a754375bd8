"""What a soak is made of: how long, how much, and the processes that it runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.servers import answers, free_port

from bench.pair import Child


@dataclass(frozen=True)
class Plan:
    """Ports are found once and stay: what was killed comes back at its place."""

    seconds: float
    agents: int
    subscribers: int
    seed: int
    folder: Path

    @cached_property
    def port(self) -> int:
        return free_port()

    @cached_property
    def control_port(self) -> int:
        return free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.control_port}"

    @property
    def db_path(self) -> Path:
        return self.folder / "data"

    @property
    def sampling(self) -> float:
        """Seconds between two samples."""
        return max(2.0, self.seconds / 180)

    @property
    def killing(self) -> float:
        """Seconds between two kills, about; after a minute `rolltrace up` forgives its child the last."""
        return max(12.0, min(75.0, self.seconds / 8))

    @cached_property
    def workers(self) -> list[Child]:
        return [self._worker(number) for number in (1, 2)]

    def _worker(self, number: int) -> Child:
        port = self.worker_ports[number - 1]
        arguments = ["--port", str(port), "--seed", str(self.seed + number)]
        return Child("bench.soak.worker", arguments, self.folder / f"worker-{number}.log")

    @cached_property
    def worker_ports(self) -> tuple[int, int]:
        return free_port(), free_port()

    @cached_property
    def up(self) -> Child:
        """The pair, with small caches, and retention that has much to do."""
        age = max(30.0, self.seconds / 10)
        settings = f"""
            --port {self.port} --control-port {self.control_port} --db-path {self.db_path} --drain-timeout 10
            --history-cache-size 16MiB --retention-age {age}s --retention-open-age {2 * age}s
            --tombstone-age {max(60.0, age)}s --idle-timeout 5s --log-level warning
        """
        workers = [text for port in self.worker_ports for text in ("--worker", f"http://127.0.0.1:{port}")]
        return Child("rolltrace_client", ["up", *settings.split(), *workers], self.log)

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    def pids(self) -> dict[str, int]:
        """Of the processes that run, by name."""
        named = {"up": self.up, **{f"worker {number}": child for number, child in enumerate(self.workers, 1)}}
        return {name: child.pid for name, child in named.items() if child.pid}

    def healthy(self) -> bool:
        return answers(f"{self.url}/health")
