"""check_room: no call begins that might not be recorded, and calls begin again when there is room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rolltrace_store import Durability, Store, StoreFullError, StoreOptions, open_store, schema
from rolltrace_store.inspection import snapshot
from rolltrace_store.room_rules import Found, limits, why_full
from rolltrace_store.schema import meta
from tests.store import samples
from tests.store.machines import SMALL, large, record_while_there_is_room, run, there_is_room
from tests.store.test_limits import KIB, delete, no_file_grows_beyond

MIB = 1 << 20
LIMITS = limits(100 * MIB, 10 * MIB, 5 * MIB)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Found(10 * MIB, 5 * MIB, 0), ""),
        (Found(10 * MIB - 1, 5 * MIB, 0), "close to max_db_size"),
        (Found(-1, 5 * MIB, 0), "0 are left"),
        (Found(10 * MIB, 5 * MIB - 1, 0), "make room on it"),
        (Found(10 * MIB, 1 * MIB, 4 * MIB), ""),
        (Found(10 * MIB, 5 * MIB, 0, "failing"), "failing"),
    ],
)
def test_what_speaks_against_a_new_call(found: Found, words: str) -> None:
    why = why_full(found, LIMITS)
    assert words in why if words else why == ""


def test_a_small_map_keeps_a_share_of_itself() -> None:
    assert limits(8 * MIB, 256 * MIB, 0).map_kept == MIB
    assert limits(1 << 40, 256 * MIB, 0).map_kept == 256 * MIB


@pytest.fixture
async def small(path: Path) -> AsyncIterator[Store]:
    store = open_store(path, SMALL)
    yield store
    await store.close()


async def test_calls_are_refused_before_the_map_is_full(small: Store) -> None:
    recorded = await record_while_there_is_room(small)
    assert recorded > 20
    with pytest.raises(StoreFullError, match=r"close to max_db_size, 4194304 bytes: .* delete sessions"):
        small.check_room()
    for number in range(8):  # calls that ran when there was no more room
        await small.append_trace(large(f"running-{number}"))
    assert (await small.read(lambda view: view.stats())).trace_count == recorded + 8
    for number in range(20):
        await delete(small, samples.trace(f"s-{number}"))
    small.check_room()
    await small.append_trace(large("again"))


async def refused(store: Store) -> None:
    """Waits until no call may begin."""
    with contextlib.suppress(StoreFullError):
        while True:
            store.check_room()
            await asyncio.sleep(0.02)


async def test_a_burst_does_not_outrun_the_looks(small: Store) -> None:
    await asyncio.gather(*[small.append_trace(large(f"s-{number}")) for number in range(75)])
    with pytest.raises(StoreFullError, match="max_db_size"):
        small.check_room()


async def test_another_process_that_fills_the_map_is_noticed_when_idle(small: Store, path: Path) -> None:
    small.check_room()
    await asyncio.to_thread(run, "fill", path)
    await refused(small)
    with pytest.raises(StoreFullError, match="max_db_size"):
        small.check_room()


def disk_has(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def statvfs(path: Path) -> os.statvfs_result:
        return os.statvfs_result((1, 1, 1 << 62, free, free, 1, 1, 1, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)


async def test_a_disk_with_little_room_is_noticed_at_once_and_when_idle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(path, StoreOptions(min_free_disk=1 << 60))
    with pytest.raises(StoreFullError, match=f"bytes free, min_free_disk is {1 << 60}: make room on it"):
        store.check_room()
    disk_has(1 << 61, monkeypatch)
    await there_is_room(store)
    await store.close()


async def test_free_pages_count_as_free_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_has(0, monkeypatch)
    options = StoreOptions(durability=Durability.PROCESS, max_db_size=64 * MIB, min_free_disk=MIB)
    store = open_store(path, options)
    for number in range(40):
        await store.append_trace(large(f"s-{number}"))
    with pytest.raises(StoreFullError, match="0 bytes free"):
        store.check_room()
    for number in range(35):
        await delete(store, samples.trace(f"s-{number}"))
    store.check_room()
    await store.close()


async def test_a_commit_that_found_no_room_counts_until_a_trial_succeeds(store: Store, path: Path) -> None:
    await store.append_trace(large("s"))
    with no_file_grows_beyond((path / "data.mdb").stat().st_size):
        with pytest.raises(StoreFullError):
            await store.append_trace(large("s", 400 * KIB))
        with pytest.raises(StoreFullError, match="full, read-only or failing"):
            store.check_room()
        await asyncio.sleep(0.6)  # some trials, which find no room either
        with pytest.raises(StoreFullError):
            store.check_room()
        assert (await store.read(lambda view: view.stats())).trace_count == 1
    await there_is_room(store)
    await store.close()
    with snapshot(path) as found:
        assert found.get(schema.NUMBERS.name, meta.TRIAL.encode()) is None


async def test_a_commit_that_succeeds_takes_calls_again_at_once(store: Store, path: Path) -> None:
    with no_file_grows_beyond((path / "data.mdb").stat().st_size):
        with pytest.raises(StoreFullError):
            await store.append_trace(large("s", 400 * KIB))
    await store.append_trace(large("s"))
    store.check_room()


def immutable(path: Path, sign: str) -> bool:
    """Whether a file could be made immutable ("+") or not ("-")."""
    return not subprocess.run(["chattr", f"{sign}i", path], capture_output=True, check=False).returncode


async def test_a_file_that_turns_read_only(store: Store, path: Path) -> None:
    await store.append_trace(samples.trace("s"))
    if not immutable(path / "data.mdb", "+"):
        pytest.skip("this file system or user cannot make a file immutable")
    try:
        try:
            await store.append_trace(samples.trace("s"))
        except StoreFullError:
            pass
        else:
            pytest.skip("this file system lets an open file be written to")
        with pytest.raises(StoreFullError, match="make it writable"):
            store.check_room()
        assert (await store.read(lambda view: view.stats())).trace_count == 1
    finally:
        immutable(path / "data.mdb", "-")
    await there_is_room(store)
    assert (await store.append_trace(samples.trace("s"))).call_index == 1
