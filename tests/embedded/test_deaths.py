"""However a trainer ends, nothing of its gateway stays behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.embedded.processes import PATIENCE, alive, descendants, trainer, until

START = """
import os, signal, sys, time, rolltrace
gateway = rolltrace.Gateway(workers=["http://127.0.0.1:9"], drain_timeout=1).start()
def ready(*more):
    print(os.path.dirname(gateway.db_path), *more, flush=True)
"""
FORKED = """
child = os.fork()
if child == 0:
    signal.pause()
ready(child)
signal.pause()
"""
FORKED_AND_CLOSED = """
child = os.fork()
if child == 0:
    gateway.close()
    sys.exit()
os.waitpid(child, 0)
assert gateway.client.status().version
ready()
gateway.close()
"""
LOOP = """
import asyncio
async def model(request):
    return rolltrace.Sample(text="Hi")
async def main():
    other = rolltrace.Gateway(handler=model, loop=asyncio.get_running_loop())
    await other.__aenter__()
asyncio.run(main())
ready()
"""
ENDS = {
    "kill -9": ("ready(); signal.pause()", signal.SIGKILL),
    "SIGTERM": ("ready(); signal.pause()", signal.SIGTERM),
    "Ctrl-C": ("ready(); signal.pause()", signal.SIGINT),
    "its end": ("ready()", None),
    "an exception": ("ready(); raise SystemExit(3)", None),
    "the end of its loop": (LOOP, None),
    "os._exit": ("ready(); sys.stdout.flush(); os._exit(0)", None),
}

CLOSED_FIRST = {"its end", "an exception", "the end of its loop"}


@pytest.mark.parametrize("how", ENDS)
def test_the_services_end_with_their_trainer(how: str) -> None:
    script, number = ENDS[how]
    with trainer(START + script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            folder = Path(process.stdout.readline().strip())
            children = descendants(process.pid)
            if number is not None:
                assert len(children) == 3, "rolltrace up and two services"
                process.send_signal(number)
            process.wait(PATIENCE)
            if how in CLOSED_FIRST:
                assert not folder.exists(), "it did not wait for its gateway's end"
            until(lambda: not alive(children), f"these stay: {children}")
            until(lambda: not folder.exists(), f"{folder} stays")
        finally:
            process.kill()
            process.stdout.read()
            process.stderr.read()


def test_a_fork_of_the_trainer_does_not_keep_the_services() -> None:
    with trainer(START + FORKED) as process:
        assert process.stdout is not None
        fork = 0
        try:
            fork = int(process.stdout.readline().split()[1])
            children = descendants(process.pid) - {fork}
            process.kill()
            until(lambda: not alive(children), f"these stay: {children}")
            assert alive({fork})
        finally:
            process.kill()
            if fork:
                os.kill(fork, signal.SIGKILL)


def test_a_fork_that_closes_and_ends_leaves_the_gateway_alone() -> None:
    with trainer(START + FORKED_AND_CLOSED) as process:
        out, error = process.communicate(timeout=PATIENCE)
        assert (process.returncode, bool(out)) == (0, True), error
