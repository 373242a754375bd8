"""The power is cut under load (disk.py says how): with `durability: power` nothing that was answered is lost.

What an agent saw to its end is recorded, what it saw begin is INTERRUPTED, and the cursors that a trainer had
seen hold: a commit is synced before anybody is told of it. The same cut with `durability: process` does lose
calls, which shows that the cut is one.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest

from rolltrace_store import StoreError
from tests.faults.disk import disk
from tests.faults.processes import Pair, running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import read, watched
from tests.faults.test_kills import a_moment, under_load

SIZE = 256 << 20


def kill(pair: Pair) -> None:
    pair.proxy.kill()
    pair.control.kill()


@fault("power cut")
@pytest.mark.timeout(600)
async def test_nothing_that_was_answered_is_lost(
    kills: int, tally: Tally, demo_url: str, tmp_path: Path
) -> None:
    chance = random.Random(5)
    with disk(tmp_path, SIZE) as drive:
        with running_pair(tmp_path, demo_url, db_path=drive.path / "data", durability="power") as pair:
            async with watched(pair, tally) as site, under_load(site.agents):
                for _ in range(max(3, kills // 25)):
                    await a_moment(site, chance)
                    drive.cut_power()
                    await asyncio.sleep(chance.uniform(0, 0.1))
                    await asyncio.to_thread(kill, pair)
                    await asyncio.to_thread(drive.power_on)
                    await asyncio.to_thread(pair.start_control)
                    await asyncio.to_thread(pair.start_proxy)
                    tally.kills += 2


@fault("power cut")
async def test_the_cut_is_one(tally: Tally, demo_url: str, tmp_path: Path) -> None:
    with disk(tmp_path, SIZE) as drive:
        with running_pair(tmp_path, demo_url, db_path=drive.path / "data", durability="process") as pair:
            async with watched(pair, tally, checked=False) as site:
                await site.agents.make_calls(100)
                drive.cut_power()
                kill(pair)
        drive.power_on()
        recorded = set[str]()
        with suppress(StoreError):  # it may be beyond reading
            sessions = (await read(pair)).sessions
            recorded = {trace.trace_id for _, traces in sessions for trace in traces}
    assert {heard.trace_id for heard in site.agents.heard if heard.completed()} - recorded
