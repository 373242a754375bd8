"""Several processes at one store, and what is left when they are killed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import ReadView, Store, WriteView, open_store
from tests.store import samples
from tests.store.contract import full, stored
from tests.store.processes import options, output, started

KILLS = 5


def conversation(session_id: str, turns: int) -> list[Trace]:
    """A conversation whose turns share enough to be written against each other."""
    traces = samples.conversation(session_id, turns)
    for number, trace in enumerate(traces):
        trace.request_json = os.urandom(1000) if number == 0 else traces[number - 1].request_json + b"+"
    return traces


def remake(view: WriteView) -> Session:
    """Deletes a session and makes it again."""
    view.delete_session("s")
    return view.create_session(Session(session_id="s"))


def check_log(view: ReadView, recorded: list[str]) -> None:
    """Everything recorded is there, can be read, and has places without gaps."""
    log = [record.sequence for record in view.events(0)]
    assert log == list(range(1, view.log_state().head + 1))
    for session in view.sessions():
        traces = [view.expand(Trace.FromString(body)) for body in view.traces(session.session_id)]
        assert [trace.call_index for trace in traces] == list(range(session.call_count))
        assert all(trace.prompt_token_ids == samples.ids(range(50)) for trace in traces)
    assert [trace_id for trace_id in recorded if view.trace(trace_id) is None] == []


@pytest.mark.parametrize("durability", ["power", "process"])
async def test_a_killed_writer_loses_nothing_that_it_had_recorded(tmp_path: Path, durability: str) -> None:
    recorded: list[str] = []
    epochs: set[str] = set()
    for number in range(KILLS):
        with started("write", tmp_path, durability, f"s-{number % 2}", "1000000") as process:
            lines = [output(process).readline() for _ in range(20 + 15 * number)]
            process.kill()
            lines += output(process).readlines()
        recorded += [line.strip() for line in lines if line.endswith("\n")]
        store = open_store(tmp_path, options())
        epochs.add((await store.read(lambda view: view.log_state())).epoch)
        await store.read(partial(check_log, recorded=recorded))
        await store.append_trace(samples.trace("after", prompt=range(50)))
        await store.close()
    assert len(recorded) >= 20 * KILLS
    assert len(epochs) == 1


async def test_two_processes_write_one_session(tmp_path: Path) -> None:
    with (
        started("write", tmp_path, "power", "s", "150") as one,
        started("write", tmp_path, "power", "s", "150") as other,
    ):
        recorded = [line.strip() for process in (one, other) for line in output(process)]
        assert (one.wait(), other.wait()) == (0, 0)
    assert len(recorded) == 300
    store = open_store(tmp_path, options())
    await store.read(lambda view: check_log(view, recorded))
    await store.close()


async def test_another_process_sees_commits(store: Store, path: Path) -> None:
    with started("watch", path, "3") as process:
        assert output(process).readline() == "ready\n"
        for head in (1, 2, 3):
            await store.append_trace(samples.trace("s"))
            assert output(process).readline() == f"{head}\n"
        assert process.wait() == 0


@pytest.mark.parametrize("talk", [conversation, samples.conversation], ids=["base", "parent"])
async def test_what_another_process_deleted_is_no_base_and_no_parent(
    store: Store, path: Path, talk: Callable[[str, int], list[Trace]]
) -> None:
    *before, after = talk("s", 3)
    for trace in before:
        await store.append_trace(trace)
    with started("remake", path, "s") as process:
        assert process.wait() == 0
    await store.append_trace(after)
    assert await full(store, "s") == [after]
    assert [trace.parent_trace_id for trace in await stored(store, "s")] == [""]


async def test_a_session_deleted_in_the_same_batch_is_no_base(store: Store) -> None:
    *before, after, last = conversation("s", 5)
    for trace in before:
        await store.append_trace(trace)
    blocked = asyncio.create_task(store.write(lambda view: time.sleep(0.05)))
    remade = asyncio.create_task(store.write(remake))
    await asyncio.sleep(0)  # now the others wait in one batch behind it
    await asyncio.gather(store.append_trace(after), store.append_trace(last), blocked)
    assert (await remade).session_id == "s"
    assert await full(store, "s") == [after, last]
    assert (await stored(store, "s"))[0].parent_trace_id == ""


async def test_a_killed_proxy_is_not_among_the_living(path: Path) -> None:
    store = open_store(path, options())
    with started("present", path) as process:
        assert output(process).readline() == "ready\n"
        (report,) = await store.live_proxies()
        assert (report.pid, report.in_flight) == (process.pid, {"w-1": 2})
        process.kill()
        process.wait()
        assert await store.live_proxies() == []
        assert list((path / "proxies").iterdir()) == []
    await store.close()
