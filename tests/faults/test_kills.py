"""Processes killed at random moments under load: what an agent saw is recorded, and subscribers resume."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.agents import Agents, about
from tests.faults.processes import MODULES, Child, Pair, Supervised, running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import Site, watched
from tests.faults.subscriber import read_notebook


def kill_proxy(pair: Pair) -> int:
    pair.proxy.kill()
    pair.start_proxy()
    return 1


def kill_control(pair: Pair) -> int:
    pair.control.kill()
    pair.start_control()
    return 1


def kill_both(pair: Pair) -> int:
    for child in random.sample([pair.proxy, pair.control], 2):
        child.kill()
    pair.start_control()
    pair.start_proxy()
    return 2


@contextlib.asynccontextmanager
async def under_load(agents: Agents, images: Sequence[str] = ()) -> AsyncGenerator[None]:
    """Calls until the block ends, about `images`; what is in flight then is hung up on."""
    load = asyncio.create_task(agents.make_calls(1_000_000, images=images))
    try:
        yield
    finally:
        load.cancel()
        await asyncio.wait({load})


async def a_moment(site: Site, chance: random.Random) -> None:
    """A random moment of the load, after some calls have come to their end."""
    await site.reaches(site.agents.ended, 10, "the load")
    await asyncio.sleep(chance.uniform(0, 0.1))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(kill_proxy, marks=fault("kill -9 of a proxy")),
        pytest.param(kill_control, marks=fault("kill -9 of control")),
        pytest.param(kill_both, marks=fault("kill -9 of both")),
    ],
)
async def test_a_kill_under_load(
    kill: Callable[[Pair], int], kills: int, tally: Tally, demo_url: str, tmp_path: Path
) -> None:
    chance = random.Random(kill.__name__)
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site, under_load(site.agents):
            while tally.kills < kills // 4:
                await a_moment(site, chance)
                tally.kills += await asyncio.to_thread(kill, pair)


@pytest.mark.timeout(600)
@fault("kill -9 while images are recorded")
async def test_a_kill_while_images_are_recorded(
    kills: int, tally: Tally, demo_url: str, tmp_path: Path
) -> None:
    """Every request that is recorded has its image, and what no trace has is not kept."""
    chance = random.Random(6)
    images = [
        f"data:image/png;base64,{base64.b64encode(chance.randbytes(50_000)).decode()}" for _ in range(40)
    ]
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site, under_load(site.agents, images):
            while tally.kills < kills // 10:
                await a_moment(site, chance)
                tally.kills += await asyncio.to_thread(kill_proxy, pair)
        traces = [trace for _, traces in (await site.truth()).sessions for trace in traces]
    requests = [json.loads(trace.request_json) for trace in traces if trace.request_json]
    assert requests
    assert all(request["messages"] in map(about, images) for request in requests)


@pytest.mark.timeout(600)
@fault("kill -9 of the supervisor")
async def test_rolltrace_up_is_killed_and_its_children(
    kills: int, tally: Tally, demo_url: str, tmp_path: Path, note: Callable[[str], None]
) -> None:
    """A killed child is back in two seconds, and nothing outlives a killed supervisor.

    On a machine where a start itself takes longer than that, it may take as long as the pair's first start.
    """
    chance, restarts = random.Random(4), list[float]()
    pair = Supervised(tmp_path, demo_url, durability="process", drain_timeout=0.5)
    begun = time.monotonic()
    pair.start()
    first = time.monotonic() - begun
    try:
        async with watched(pair, tally) as site, under_load(site.agents):
            while tally.kills < kills // 10:
                for module in MODULES:
                    await a_moment(site, chance)
                    restarts.append(await asyncio.to_thread(pair.kill_child, module))
                await a_moment(site, chance)
                pair.kill()
                await asyncio.to_thread(pair.start)
                tally.kills += 3
    finally:
        pair.up.stop()
    median, worst = statistics.median(restarts), max(restarts)
    note(
        f"restarts under rolltrace up: median {median:.2f}, worst {worst:.2f} s; a first start {first:.2f} s"
    )
    assert min(restarts) < max(2.0, 1.5 * first)


@pytest.mark.timeout(600)
@fault("kill -9 of a trainer")
async def test_a_trainer_that_is_killed_sees_every_trace_once_and_in_order(
    kills: int, tally: Tally, demo_url: str, tmp_path: Path
) -> None:
    chance, notebook = random.Random(2), tmp_path / "notebook"
    arguments = ["TARGET", str(notebook)]
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        arguments[0] = pair.target
        trainer = Child("tests.faults.subscriber", arguments, tmp_path / "trainer.log")
        trainer.start()
        async with watched(pair, tally) as site:
            async with under_load(site.agents):
                while tally.kills < kills // 4:
                    await site.reaches(lambda: len(read_notebook(notebook)), 10, "notes")
                    await asyncio.sleep(chance.uniform(0, 0.1))
                    trainer.kill()
                    trainer.start()
                    tally.kills += 1
            await site.until(pair.idle, "calls to end")
            recorded = sorted(t.trace_id for _, traces in (await site.truth()).sessions for t in traces)
            await site.until(lambda: len(read_notebook(notebook)) >= len(recorded), "notes")
            trainer.stop()
    noted = read_notebook(notebook)
    sequences = [sequence for _, sequence, _ in noted]
    assert sequences == sorted(set(sequences))
    assert len({epoch for epoch, _, _ in noted}) == 1
    assert sorted(trace_id for _, _, trace_id in noted) == recorded
