"""Real processes, started, killed and stopped. Each child is a small module that writes down what it sees."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rolltrace_client.supervisor import Child, Supervisor

POLITE = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["FOLDER"])
name = os.environ["NAME"]
def stop(*_):
    with open(folder / "ends", "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with open(folder / (name + ".pids"), "a") as file:
    file.write(f"{os.getpid()}\\n")
while True:
    time.sleep(0.01)
"""
DEAF = POLITE.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
MISCONFIGURED = "import sys; sys.exit(2)"


class Folder:
    """Where the children are written down, and what they wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def child(self, name: str, code: str, stage: int = 0) -> Child:
        module = f"child_{name}"
        (self.path / f"{module}.py").write_text(code)
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.path),
            "FOLDER": str(self.path),
            "NAME": name,
            "ROLLTRACE_DRAIN_TIMEOUT": "0",
        }

        async def is_healthy() -> bool:
            return bool(self.pids(name))

        return Child(name, module, environment, stage, is_healthy)

    def pids(self, name: str) -> list[int]:
        file = self.path / f"{name}.pids"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def ends(self) -> list[str]:
        file = self.path / "ends"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


async def run_while(supervisor: Supervisor, act: Callable[[], Awaitable[None]]) -> int:
    """Run until `act`, which comes once all are healthy, has had a signal sent."""
    up = asyncio.Event()
    running = asyncio.create_task(supervisor.run(up.set))
    await asyncio.wait_for(up.wait(), 30)
    await act()
    return await asyncio.wait_for(running, 30)


async def test_a_signal_stops_the_stages_one_after_the_other(folder: Folder) -> None:
    children = [folder.child("control", POLITE, 1), folder.child("proxy", POLITE, 0)]

    async def act() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert await run_while(Supervisor(children, 30), act) == 0
    assert folder.ends() == ["proxy", "control"]


async def test_a_killed_child_starts_again(folder: Folder) -> None:
    async def act() -> None:
        os.kill(folder.pids("proxy")[0], signal.SIGKILL)
        await until(lambda: len(folder.pids("proxy")) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    assert await run_while(Supervisor([folder.child("proxy", POLITE)], 30), act) == 0
    assert folder.ends() == ["proxy"]


async def test_one_that_does_not_drain_in_time_is_killed(folder: Folder) -> None:
    async def act() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert await run_while(Supervisor([folder.child("proxy", DEAF)], 0.05), act) == 0
    assert not runs(folder.pids("proxy")[0])


async def test_a_second_signal_kills_at_once(folder: Folder) -> None:
    children = [folder.child("proxy", DEAF, 0), folder.child("control", DEAF, 1)]

    async def act() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)

    assert await run_while(Supervisor(children, 3600), act) == 0
    assert not any(runs(folder.pids(child.name)[0]) for child in children)


async def test_a_configuration_error_stops_all_and_is_the_exit_status(folder: Folder) -> None:
    children = [folder.child("control", POLITE, 1), folder.child("proxy", MISCONFIGURED, 0)]
    assert await asyncio.wait_for(Supervisor(children, 30).run(lambda: None), 30) == 2


LONELY = """
import asyncio, os, sys
from rolltrace_client.supervisor import Child, Supervisor
async def healthy():
    return True
child = Child("proxy", "child_proxy", dict(os.environ), 0, healthy)
asyncio.run(Supervisor([child], 30).run(lambda: None))
"""


@pytest.mark.parametrize("code", [POLITE, DEAF], ids=["polite", "deaf"])
async def test_no_child_outlives_a_killed_supervisor(folder: Folder, code: str) -> None:
    environment = folder.child("proxy", code).environment
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", LONELY, env=environment)
    await until(lambda: bool(folder.pids("proxy")))
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not runs(folder.pids("proxy")[0]))
    assert folder.ends() == (["proxy"] if code is POLITE else [])
