"""Other processes at the same store: `python -m tests.store.processes COMMAND PATH ...`."""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from operator import methodcaller
from pathlib import Path
from typing import IO

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import Durability, StoreOptions, open_store
from tests.store import samples

ROOT = Path(__file__).parents[2]
WRITERS = 8


@contextmanager
def started(*arguments: str | Path) -> Generator[subprocess.Popen[str]]:
    """A process of this file's, killed at the end if it still runs."""
    command = [sys.executable, "-m", __name__, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def options(durability: str = "process") -> StoreOptions:
    return StoreOptions(durability=Durability(durability), max_db_size=1 << 30)


async def write(path: str, durability: str, session_id: str, count: str) -> None:
    """Prints the trace_id of every trace that is recorded."""
    store = open_store(path, options(durability))
    left = int(count)

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            trace = samples.trace(session_id, prompt=range(50), padding=2048)
            await store.append_trace(trace)
            print(trace.trace_id, flush=True)

    await asyncio.gather(*[one_after_the_other() for _ in range(WRITERS)])
    await store.close()


async def watch(path: str, until: str) -> None:
    """Prints "ready", and the head each time it grows."""
    store = open_store(path, options())
    head = 0
    print("ready", flush=True)
    while head < int(until):
        head = await store.wait(head, timeout=60)
        print(head, flush=True)
    await store.close()


async def remake(path: str, session_id: str) -> None:
    """Deletes a session and makes it again."""
    store = open_store(path, options())
    await store.write(lambda view: view.delete_session(session_id))
    await store.write(lambda view: view.create_session(Session(session_id=session_id)))
    await store.close()


async def serve(path: str, session_id: str) -> None:
    """Runs calls until it is killed; prints each trace_id when it is admitted and when it has ended."""
    store = open_store(path, options(), proxy=True)

    async def one_after_the_other() -> None:
        while True:
            trace = samples.trace(session_id, prompt=range(50))
            await store.admit(samples.admission(of=trace), 1)
            print("admitted", trace.trace_id, flush=True)
            await store.append_trace(trace)
            print("ended", trace.trace_id, flush=True)

    await asyncio.gather(*[one_after_the_other() for _ in range(WRITERS)])


def picture_of(session_id: str, seed: int = 0) -> Trace:
    """A trace with an image of 50 kB in its request."""
    trace = samples.trace(session_id, prompt=range(50))
    data = base64.b64encode(random.Random(seed).randbytes(50_000))
    trace.request_json = b'{"image": "data:image/png;base64,%b"}' % data
    return trace


async def picture(path: str, session_id: str) -> None:
    """Records traces with ever new images until it is killed; prints each trace_id."""
    store = open_store(path, options())
    for number in itertools.count():
        trace = picture_of(session_id, number)
        await store.append_trace(trace)
        print(trace.trace_id, flush=True)


async def churn(path: str, name: str, count: str) -> None:
    """Records so many sessions with one image, and deletes each but every fifth, whose id it prints."""
    store = open_store(path, options())
    for number in range(int(count)):
        session_id = f"{name}-{number}"
        await store.append_trace(picture_of(session_id))
        if number % 5:
            await store.write(methodcaller("delete_session", session_id))
        else:
            print(session_id, flush=True)
    await store.close()


async def sweep(path: str) -> None:
    """Prints "ready", then how many orphans it has interrupted."""
    store = open_store(path, options())
    print("ready", flush=True)
    print(await store.interrupt_orphans(), flush=True)
    await store.close()


async def present(path: str, session_id: str = "", calls: str = "0") -> None:
    """Is a proxy that runs calls of a session, until it is killed."""
    store = open_store(path, options(), proxy=True)
    store.report_proxy({"w-1": 2})
    await asyncio.gather(*[store.admit(samples.admission(session_id), 7) for _ in range(int(calls))])
    print("ready", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    commands: dict[str, Callable[..., Coroutine[None, None, None]]]
    commands = {work.__name__: work for work in (churn, picture, present, remake, serve, sweep, watch, write)}
    asyncio.run(commands[sys.argv[1]](*sys.argv[2:]))
