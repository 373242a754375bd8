"""No room to record: calls are refused before they reach a worker, readers go on, and it heals by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rolltrace.v1.session_service_pb2 import DeleteSessionRequest
from rolltrace.v1.trace_service_pb2 import ListTracesRequest
from rolltrace_store import StoreError
from tests.control.conftest import connected
from tests.faults.bad_worker import BadWorker, bad_worker, whole
from tests.faults.disk import disk, protect
from tests.faults.processes import Pair, running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import Site, read, watched
from tests.faults.test_workers import registered
from tests.proxy.answers import chat_answer

MIB = 1 << 20


@asynccontextmanager
async def serving(pair: Pair, tally: Tally) -> AsyncGenerator[tuple[Site, BadWorker]]:
    """A site with a worker that counts what reaches it."""
    async with bad_worker(whole(chat_answer())) as worker, registered(pair, only=worker.url):
        async with watched(pair, tally) as site:
            assert (await site.agents.call("before")).completed()
            yield site, worker


async def refused(site: Site, worker: BadWorker) -> None:
    """Calls until one is refused; then no further one reaches the worker, and readers go on."""
    async with asyncio.timeout(60):
        while (await site.agents.call("until-full")).completed():
            pass
    await asyncio.sleep(0.5)  # what ran then has ended
    reached = len(worker.requests)
    for number in range(5):
        heard = await site.agents.call(f"refused-{number}")
        assert (heard.status, heard.error_code()) == (507, "store_full"), heard
    assert len(worker.requests) == reached, "a call ran that could not be recorded"
    async with connected(site.pair.control_port) as control:
        listed = await control.traces.ListTraces(ListTracesRequest(session_id="before"))
    assert len(listed.traces) == 1


async def healed(site: Site) -> None:
    async with asyncio.timeout(30):
        while not (await site.agents.call("healed")).completed():
            await asyncio.sleep(0.05)


@fault("disk full")
@pytest.mark.parametrize("left", [4 * MIB, 0], ids=["nearly", "wholly"])
async def test_a_full_disk(left: int, tally: Tally, tmp_path: Path) -> None:
    """Nearly: less is free than min_free_disk. Wholly: commits fail, since min_free_disk is 0."""
    settings = {"durability": "process", "min_free_disk": 2 * left, "drain_timeout": 1}
    with disk(tmp_path, 128 * MIB) as drive:
        with running_pair(tmp_path, db_path=drive.path / "data", **settings) as pair:
            async with serving(pair, tally) as (site, worker):
                drive.fill(left)
                try:
                    await refused(site, worker)
                finally:
                    drive.make_room()
                await healed(site)


@fault("map full")
async def test_a_full_map(tally: Tally, tmp_path: Path) -> None:
    settings = {"max_db_size": 8 * MIB, "write_queue_size": MIB, "durability": "process"}
    with running_pair(tmp_path, **settings) as pair:
        async with serving(pair, tally) as (site, worker), connected(pair.control_port) as control:
            large = [f"large-{number}" for number in range(400)]
            for session_id in large:
                if not (await site.agents.call(session_id, user=os.urandom(30_000).hex())).completed():
                    break
            await refused(site, worker)
            used = [h.session_id for h in site.agents.heard if h.completed() and h.session_id in large]
            for session_id in used:
                site.deleted.add(session_id)
                await control.sessions.DeleteSession(DeleteSessionRequest(session_id=session_id))
            await healed(site)


@fault("environment read-only")
async def test_an_environment_that_becomes_read_only(tally: Tally, tmp_path: Path) -> None:
    with disk(tmp_path, 128 * MIB) as drive:
        data = drive.path / "data" / "data.mdb"
        with running_pair(tmp_path, db_path=data.parent, durability="process") as pair:
            async with serving(pair, tally) as (site, worker):
                protect(data, True)
                try:
                    await refused(site, worker)
                finally:
                    protect(data, False)
                await healed(site)


@fault("environment read-only")
def test_services_say_that_an_environment_is_read_only(tmp_path: Path) -> None:
    with disk(tmp_path, 128 * MIB) as drive:
        data = drive.path / "data" / "data.mdb"
        with running_pair(tmp_path, db_path=data.parent) as pair:
            pass
        protect(data, True)
        for child in (pair.proxy, pair.control):
            child.start()
            child.wait()
            said = child.log.read_text()
            assert f"{data.parent} cannot be" in said
            assert "Traceback" not in said
        protect(data, False)


HOLD = """
import lmdb, sys, time
environment = lmdb.open(sys.argv[1], map_size=int(sys.argv[2]), max_dbs=32, max_readers=512, lib_version=0)
held = []
try:
    while True:
        held.append(environment.begin())
except lmdb.ReadersFullError:
    print(len(held), flush=True)
    time.sleep(3600)
"""


@contextmanager
def holding_all_readers(pair: Pair) -> Generator[None]:
    """Another process takes every reader's slot that is free, and is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(pair.db_path), str(pair.max_db_size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 400
        yield
        process.kill()


async def opened(pair: Pair) -> None:
    """Until another process can read: those that run free the slots of the dead every few seconds."""
    async with asyncio.timeout(60):
        while True:
            try:
                await read(pair)
            except StoreError:
                await asyncio.sleep(0.1)
            else:
                return


@fault("reader slots full")
async def test_no_reader_slot_is_free(tally: Tally, tmp_path: Path) -> None:
    """The services keep the slots that they have; what needs one more is refused until there is one."""
    with running_pair(tmp_path, durability="process") as pair:
        async with serving(pair, tally) as (site, worker):
            with holding_all_readers(pair):
                before = len(worker.requests)
                calls = [site.agents.call(f"full-{number}") for number in range(20)]
                heard = await asyncio.gather(*calls)
                assert {each.status for each in heard} <= {200, 503, 507}
                assert len(worker.requests) - before == sum(each.completed() for each in heard)
            tally.kills += 1
            await opened(pair)
            after = [await site.agents.call(f"free-{number}") for number in range(20)]
            assert all(each.completed() for each in after)


@fault("address-space limit")
async def test_services_say_what_an_address_space_limit_forbids(tally: Tally, tmp_path: Path) -> None:
    """At the start, where the map is reserved; with a smaller map the same limit holds them."""
    large, small = Pair(tmp_path, max_db_size=1 << 40), Pair(tmp_path, max_db_size=64 * MIB)
    for child in (large.proxy, large.control):
        child.order = replace(child.order, address_space=16 << 30)
        child.start()
        child.wait()
        said = child.log.read_text()
        assert "lower max_db_size or lift `ulimit -v`" in said
        assert "Traceback" not in said
    for child in (small.proxy, small.control):
        child.order = replace(child.order, address_space=16 << 30)
    try:
        small.start_control()
        small.start_proxy()
        async with serving(small, tally) as (site, _):
            await site.agents.make_calls(20)
    finally:
        small.proxy.stop()
        small.control.stop()
