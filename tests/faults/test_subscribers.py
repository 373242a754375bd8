"""Subscribers that are slow, stuck or gone, and two hundred of them: writers and memory do not notice."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from rolltrace.v1 import trace_pb2
from rolltrace.v1.gateway_service_pb2 import GetStatusRequest
from rolltrace.v1.trace_service_pb2 import SubscribeRequest
from tests import promises
from tests.control.conftest import Control, connected
from tests.control.subscriber import follow, reaches, responses
from tests.faults.processes import Child, running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import Site, watched
from tests.promises import Connection

MIB = 1 << 20
METADATA = SubscribeRequest(view=trace_pb2.TRACE_VIEW_METADATA)
GROWTH = 96 * MIB
"""Of control's memory, at most: much less than what the streams below would hold if it were queued."""


def resident(child: Child) -> int:
    """Bytes of memory that the process holds."""
    pages = Path(f"/proc/{child.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def subscribers(control: Control) -> int:
    return (await control.gateway.GetStatus(GetStatusRequest())).subscriber_count


async def large_calls(site: Site, count: int, size: int) -> float:
    """Makes calls with bodies that do not compress; returns the seconds that they took."""
    begun = time.monotonic()
    for number in range(count):
        heard = await site.agents.call(f"large-{number}", max_tokens=1, user=os.urandom(size // 2).hex())
        assert heard.completed()
    return time.monotonic() - begun


@fault("subscriber stuck")
async def test_stuck_streams_cost_writers_nothing(tally: Tally, demo_url: str, tmp_path: Path) -> None:
    """Ten streams ask for whole traces, 20 MB each, and read none of them."""
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site, AsyncExitStack() as later:
            alone = await large_calls(site, 20, MIB // 2)
            before = resident(pair.control)
            control = await later.enter_async_context(connected(pair.control_port))
            for _ in range(10):
                stuck = await later.enter_async_context(connected(pair.control_port))
                call = stuck.traces.Subscribe(SubscribeRequest())
                await call.wait_for_connection()
                later.callback(call.cancel)
            tally.streams += 10
            beside = await large_calls(site, 20, MIB // 2)
            grown = resident(pair.control) - before
            assert await subscribers(control) >= 11
            assert grown < GROWTH, f"control grew by {grown >> 20} MiB"
            assert beside < 5 * alone + 2


@fault("subscriber slow")
async def test_a_slow_stream_loses_nothing(tally: Tally, demo_url: str, tmp_path: Path) -> None:
    """It reads ten times slower than is written, falls behind, and has it all in the end."""
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site, connected(pair.control_port) as control:
            slow, load = Connection(), asyncio.create_task(site.agents.make_calls(400))
            async with aclosing(responses(control, METADATA)) as stream:
                async for response in stream:
                    slow.see(response)
                    if load.done():
                        break
                    await asyncio.sleep(0.2)
            await load
            behind = slow.cursor
            truth = await site.truth()
            rest = SubscribeRequest(view=METADATA.view)
            rest.after.epoch, rest.after.sequence = slow.epoch, behind
            promises.check([slow, await follow(control, reaches(truth.head), rest)], truth.log)
            tally.streams += 2


@fault("subscriber vanishes")
async def test_the_slots_of_those_that_vanish_are_freed(tally: Tally, demo_url: str, tmp_path: Path) -> None:
    """Trainers in processes of their own are killed in mid-stream, and hang up in the middle of a batch."""
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site, connected(pair.control_port) as control:
            await site.agents.make_calls(50)
            await site.until(lambda: bool(site.trainer.connections), "the trainer")
            before = await subscribers(control)
            trainers = [
                Child("tests.faults.subscriber", [pair.target, str(tmp_path / f"{n}")], tmp_path / "t.log")
                for n in range(10)
            ]
            for trainer in trainers:
                trainer.start()
            while await subscribers(control) < before + len(trainers):
                await asyncio.sleep(0.02)
            for trainer in trainers:
                trainer.kill()
            tally.kills, tally.streams = len(trainers), len(trainers)
            await site.agents.make_calls(20)
            async with asyncio.timeout(30):
                while await subscribers(control) > before:
                    await asyncio.sleep(0.05)


@fault("200 subscribers")
@pytest.mark.timeout(300)
async def test_two_hundred_streams(tally: Tally, demo_url: str, tmp_path: Path) -> None:
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site, AsyncExitStack() as later:
            await site.agents.make_calls(20)
            before = resident(pair.control)
            channels = [await later.enter_async_context(connected(pair.control_port)) for _ in range(8)]
            seen = [Connection() for _ in range(200)]
            end, follow_all = Target(), list[asyncio.Task[Connection]]()
            for number, connection in enumerate(seen):
                call = follow(channels[number % len(channels)], end, METADATA, connection)
                follow_all.append(asyncio.create_task(call))
            await site.agents.make_calls(100)
            truth = await site.truth()
            end.sequence = truth.head
            await site.agents.call("the-last-one", max_tokens=1)
            await asyncio.gather(*follow_all)
            truth = await site.truth()
            for connection in seen:
                promises.check([connection], truth.log)
            tally.streams += len(seen)
            tally.promises += 4 * len(seen)
            grown = resident(pair.control) - before
            assert grown < GROWTH, f"control grew by {grown >> 20} MiB"


class Target:
    """Stops a stream at a sequence that is known later."""

    sequence = 1 << 62

    def __call__(self, connection: Connection) -> bool:
        return connection.cursor >= self.sequence
