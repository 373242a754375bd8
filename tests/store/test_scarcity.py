"""What the machine lacks: a disk with room, a file system to write to, reader slots, address space, a clock
that only goes forward. Each is a clear error or none, reads go on, and nothing crashes."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import ReadView, Store, StoreError, open_store
from rolltrace_store.environment import MAX_READERS
from rolltrace_store.inspection import snapshot
from tests.store import samples
from tests.store.machines import can_mount, in_own_mounts, run
from tests.store.processes import ROOT, options, output

mounts = pytest.mark.skipif(not can_mount(), reason="this user cannot mount")


@mounts
def test_a_full_file_system(tmp_path: Path) -> None:
    mount = in_own_mounts('mount -t tmpfs -o size=16m tmpfs "$0"', tmp_path)
    enough, error, kept, healed = run("full_disk", tmp_path, *mount).splitlines()
    assert (enough, kept, healed) == ("True", "True", "True")
    assert error.startswith("the disk of the store is full")


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'


@mounts
async def test_a_read_only_file_system(path: Path) -> None:
    store = open_store(path, options())
    await store.append_trace(samples.trace("s"))
    await store.close()
    said = run("open", path, *in_own_mounts(READ_ONLY, path))
    assert "Read-only file system" in said
    assert "this process may write to" in said
    with snapshot(path) as found:
        assert found.count("trace_ids") == 1


@mounts
def test_no_folder_can_be_made(tmp_path: Path) -> None:
    said = run("open", tmp_path / "db", *in_own_mounts(READ_ONLY.replace("$0", str(tmp_path)), tmp_path))
    assert "Read-only file system" in said


async def test_slots_of_dead_readers_are_freed_when_they_are_needed(store: Store, path: Path) -> None:
    with _all_slots_taken(path):
        pass
    assert _reads_within_reads(store, 5) == [0] * 5


def _reads_within_reads(store: Store, depth: int) -> list[int]:
    """The head, as reads see it that are open at the same time."""

    def work(view: ReadView) -> list[int]:
        deeper = _reads_within_reads(store, depth - 1) if depth > 1 else []
        return [view.log_state().head, *deeper]

    try:
        store.read(work).send(None)
    except StopIteration as done:
        found: list[int] = done.value
        return found
    raise AssertionError("a read waits")


async def test_live_readers_that_take_all_slots_are_an_error_to_those_that_come(
    store: Store, path: Path
) -> None:
    await store.append_trace(samples.trace("s"))
    with _all_slots_taken(path):
        said = await asyncio.to_thread(run, "open", path)
        assert f"all {MAX_READERS} reader slots are taken" in said
        with pytest.raises(StoreError, match="reader slots are taken"):
            _reads_within_reads(store, 5)
        await store.append_trace(samples.trace("s"))
        assert (await store.read(lambda view: view.stats())).trace_count == 2
    assert _reads_within_reads(store, 5) == [2] * 5
    assert await asyncio.to_thread(run, "open", path) == ""


@contextmanager
def _all_slots_taken(path: Path) -> Generator[None]:
    """By a process that is killed at the end."""
    command = [sys.executable, "-m", "tests.store.machines", "hold_readers", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
        assert int(output(reader).readline()) > 0
        try:
            yield
        finally:
            reader.kill()


def test_too_little_address_space(path: Path) -> None:
    said = run("little_address_space", path)
    assert "lower max_db_size or lift `ulimit -v`" in said


async def test_a_clock_that_steps_back_changes_no_order(path: Path) -> None:
    hour = 3600 * 10**9
    times = itertools.chain([10 * hour] * 3, itertools.repeat(9 * hour))
    store = open_store(path, options(), clock=lambda: next(times))
    traces = samples.conversation("s", 4)
    commits = [await store.append_trace(trace) for trace in traces]
    await store.write(lambda view: view.delete_session("s"))
    await store.append_trace(samples.trace("s2"))
    assert [commit.sequence for commit in commits] == [1, 2, 3, 4]
    assert [commit.call_index for commit in commits] == [0, 1, 2, 3]
    left = await store.read(lambda view: [record.sequence for record in view.events(2)])
    assert left == [5, 6]
    state = await store.read(lambda view: view.log_state())
    assert (state.head, state.compacted) == (6, 0)
    stored = await store.read(lambda view: [Trace.FromString(body) for body in view.traces("s2")])
    assert [trace.sequence for trace in stored] == [6]
    await store.close()
