"""The wall clock steps back an hour while calls run: order and cursors do not mind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from tests.faults.processes import Pair
from tests.faults.report import Tally, fault
from tests.faults.site import watched


@fault("clock steps back an hour")
async def test_the_log_goes_on_in_order(tally: Tally, demo_url: str, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    pair = Pair(tmp_path, demo_url, durability="process", health_interval=0.2)
    for child in (pair.proxy, pair.control):
        child.order = replace(child.order, clock=str(clock))
    try:
        pair.start_control()
        pair.start_proxy()
        async with watched(pair, tally) as site:
            load = asyncio.create_task(site.agents.make_calls(300, sessions=5))
            for offset in ("0", "-3600", "-3600"):
                clock.write_text(offset)
                await site.reaches(site.agents.ended, 50, "calls")
            pair.control.kill()  # nothing that was read before helps
            pair.start_control()
            await load
            assert all(heard.completed() for heard in site.agents.heard)
            sessions = (await site.truth()).sessions
    finally:
        pair.proxy.stop()
        pair.control.stop()
    steps = [
        later.admit_time.ToNanoseconds() - earlier.admit_time.ToNanoseconds()
        for _, traces in sessions
        for earlier, later in pairwise(traces)
    ]
    assert min(steps) < -3000e9, "the clock did step back between two calls of one session"
