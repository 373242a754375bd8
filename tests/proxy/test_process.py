"""`rolltrace-proxy` as a process: it starts, says so, drains on a signal, and shares its metrics."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers import answers, free_port


def start(
    tmp_path: Path, port: int, *more: str, through: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    command = [
        *through,
        sys.executable,
        "-m",
        "rolltrace_proxy",
        "--port",
        str(port),
        "--db-path",
        str(tmp_path / "data"),
    ]
    env = {**os.environ, **environment}
    return subprocess.Popen([*command, *more], stderr=subprocess.PIPE, text=True, env=env)


def ready(process: subprocess.Popen[str]) -> str:
    """The line that says so."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "proxy ready on http://127.0.0.1:" in line, line + process.communicate()[1]
    return line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    process = start(tmp_path, port, "--worker", "http://127.0.0.1:9")
    assert f"proxy ready on http://127.0.0.1:{port}, " in ready(process)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as response:
        assert b'"workers": 1' in response.read()
    process.send_signal(number)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "draining" in log
    assert len(log.splitlines()) == 1


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    port = free_port()
    first = start(tmp_path / "a", port)
    ready(first)
    second = start(tmp_path / "b", port)
    _, log = second.communicate(timeout=30)
    first.terminate()
    first.communicate(timeout=30)
    assert second.returncode == 1
    assert log.startswith("rolltrace-proxy: ")
    assert str(port) in log
    assert len(log.splitlines()) == 1


def test_one_proxy_answers_for_the_metrics_of_all(tmp_path: Path) -> None:
    port, metrics = free_port(), tmp_path / "metrics"
    metrics.mkdir()
    shared = {"ROLLTRACE_PROXIES": "2", "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
    processes = [start(tmp_path, port, **shared) for _ in range(2)]
    for process in processes:
        ready(process)
    for _ in range(5):
        assert not answers(f"http://127.0.0.1:{port}/sessions/s/v1/models")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    for process in processes:
        process.terminate()
    assert all(process.communicate(timeout=30) and process.returncode == 0 for process in processes)
    assert "rolltrace_passed_total 5.0" in text
    assert "rolltrace_calls_in_flight 0.0" in text


def test_a_proxy_takes_the_open_files_it_may_have_and_says_when_they_are_too_few(tmp_path: Path) -> None:
    command = ["bash", "-c", 'ulimit -Sn 300 && ulimit -Hn 656 && exec "$@"', "bash"]
    process = start(tmp_path, free_port(), "--max-calls", "300", through=command)
    assert process.stderr is not None
    assert "max_calls is lowered from 300 to 200" in (line := process.stderr.readline())
    assert "allow it 856 (ulimit -n)" in line
    ready(process)
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (656, 656)
    process.terminate()
    process.communicate(timeout=30)
