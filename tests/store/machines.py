"""Processes at a store whose machine lacks something: `python -m tests.store.machines COMMAND PATH ...`."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import lmdb

from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import Durability, Store, StoreError, StoreFullError, StoreOptions, open_store
from rolltrace_store.environment import LMDB_MAJOR, MAX_READERS
from tests.store import samples
from tests.store.processes import ROOT, options

MIB = 1 << 20
SMALL = StoreOptions(durability=Durability.PROCESS, max_db_size=4 * MIB)


def run(command: str, path: Path, *prefix: str) -> str:
    """Runs a command of this file to its end and gives what it printed."""
    line = [*prefix, sys.executable, "-m", __name__, command, str(path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def in_own_mounts(script: str, path: Path) -> tuple[str, ...]:
    """A prefix that runs a command after shell `script`, which may mount; "$0" is the path."""
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", f'{script} && exec "$@"', str(path))


def can_mount() -> bool:
    command = ("unshare", "--map-root-user", "--mount", "true")
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def large(session_id: str, size: int = 40 << 10) -> Trace:
    """A trace that cannot be compressed."""
    trace = samples.trace(session_id)
    trace.request_json = os.urandom(size)
    return trace


async def there_is_room(store: Store, within: float = 30.0) -> None:
    """Waits until a call may begin."""
    end = time.monotonic() + within
    while True:
        try:
            return store.check_room()
        except StoreFullError:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.02)


async def record_while_there_is_room(store: Store) -> int:
    """Records traces, each in its own session; returns how many."""
    recorded = 0
    while True:
        try:
            store.check_room()
        except StoreFullError:
            return recorded
        await store.append_trace(large(f"s-{recorded}"))
        recorded += 1


async def _fill(path: Path) -> None:
    store = open_store(path, SMALL)
    await record_while_there_is_room(store)
    await store.close()


async def _full_disk(path: Path) -> None:
    """Fills a small disk to the last byte, and makes room again. Prints what it finds."""
    filler = path / "filler"
    filler.write_bytes(bytes(4 * MIB))
    store = open_store(path / "db", StoreOptions(min_free_disk=2 * MIB))
    recorded = await record_while_there_is_room(store)
    print(recorded > 20)
    try:
        while True:
            await store.append_trace(large("running"))
            recorded += 1
    except StoreFullError as error:
        print(error)
    print((await store.read(lambda view: view.stats())).trace_count == recorded)
    filler.unlink()
    await there_is_room(store)
    print((await store.append_trace(samples.trace("again"))).sequence == recorded + 1)
    await store.close()


async def _open(path: Path) -> None:
    """Opens it and reads, or prints why not."""
    try:
        store = open_store(path, options())
        await store.read(lambda view: view.log_state())
        await store.close()
    except StoreError as error:
        print(error)


async def _little_address_space(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    try:
        open_store(path)
    except StoreError as error:
        print(error)


async def _hold_readers(path: Path) -> None:
    """Takes all reader slots that are free and keeps them."""
    environment = lmdb.open(str(path), max_readers=MAX_READERS, lib_version=LMDB_MAJOR)
    held: list[object] = []
    try:
        while True:
            held.append(environment.begin())
    except lmdb.ReadersFullError:
        print(len(held), flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    logging.disable()  # what it has to say, it prints
    commands: dict[str, Callable[[Path], Coroutine[None, None, None]]] = {
        "fill": _fill,
        "full_disk": _full_disk,
        "open": _open,
        "little_address_space": _little_address_space,
        "hold_readers": _hold_readers,
    }
    asyncio.run(commands[sys.argv[1]](Path(sys.argv[2])))
