"""The doorbell heard, unheard, and out of reach."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rolltrace_store import Store, open_store
from rolltrace_store.doorbell import Bell, Folder, Ringer
from tests.store import samples
from tests.store.processes import options


@pytest.fixture(params=["short", "x" * 120])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    path = tmp_path / request.param
    path.mkdir()
    folder = Folder(path)
    yield folder
    folder.close()


async def test_every_bell_is_rung(folder: Folder) -> None:
    ringer = Ringer(folder)
    bells: list[Bell] = []
    for _ in range(3):  # each comes after the ringer has listed those before
        bells.append(Bell(folder))
        assert bells[-1].audible
        ringer.ring()
        await asyncio.gather(*[bell.heard(60) for bell in bells])
    for bell in bells:
        bell.close()
    ringer.close()
    assert list(folder.path.iterdir()) == []


async def test_a_bell_hung_in_the_tick_of_a_listing_is_rung(folder: Folder) -> None:
    ringer, first = Ringer(folder), Bell(folder)
    tick = time.time_ns() + 10_000_000_000
    os.utime(folder.path, ns=(tick, tick))
    ringer.ring()
    second = Bell(folder)
    os.utime(folder.path, ns=(tick, tick))
    ringer.ring()
    await second.heard(60)
    for thing in (first, second, ringer):
        thing.close()


async def test_dead_bells_are_removed_and_others_still_rung(folder: Folder) -> None:
    bell, dead = Bell(folder), Bell(folder)
    (folder.path / "note").write_text("no bell")
    dead._socket.close()  # pyright: ignore[reportPrivateUsage]  # as a killed process leaves it
    os.rename(dead._file, folder.path / "1-1")  # pyright: ignore[reportPrivateUsage]
    ringer = Ringer(folder)
    ringer.ring()
    await bell.heard(60)
    assert not (folder.path / "1-1").exists()
    bell.close()
    ringer.close()


async def test_a_ringer_does_not_wait_for_the_deaf(folder: Folder) -> None:
    bell, ringer = Bell(folder), Ringer(folder)
    for _ in range(1000):
        ringer.ring()
    await bell.heard(60)
    bell.close()
    ringer.close()


async def test_without_its_file_a_commit_is_still_seen(store: Store, path: Path) -> None:
    waiting = asyncio.create_task(store.wait(0, timeout=60))
    await asyncio.sleep(0)
    (bell,) = (path / "bells").iterdir()
    bell.unlink()
    await store.append_trace(samples.trace("s"))
    assert await waiting == 1


async def test_with_no_bell_at_all_a_commit_is_still_seen(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "address", lambda self, name: None)  # pyright: ignore[reportUnknownLambdaType,reportUnknownArgumentType]
    store = open_store(path, options())
    waiting = asyncio.create_task(store.wait(0, timeout=60))
    await store.append_trace(samples.trace("s"))
    assert await waiting == 1
    await store.close()
