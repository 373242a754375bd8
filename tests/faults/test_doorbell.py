"""The doorbell is lost: delivery goes on by polling."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.faults.processes import running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import LIVE, watched


@fault("doorbell lost")
@pytest.mark.parametrize("lost", ["the sockets", "their folder"])
async def test_sockets_that_are_deleted_cost_time_and_no_event(
    lost: str, tally: Tally, demo_url: str, tmp_path: Path
) -> None:
    with running_pair(tmp_path, demo_url, durability="process") as pair:
        async with watched(pair, tally) as site:
            site.live = LIVE + 0.25  # half of the polls' interval, and room
            await site.agents.make_calls(20)
            bells = list((pair.db_path / "bells").iterdir())
            assert bells
            if lost == "the sockets":
                for bell in bells:
                    bell.unlink()
            else:
                shutil.rmtree(pair.db_path / "bells")
            for _ in range(10):  # one at a time, each a commit that nobody rings for
                await site.agents.make_calls(4, concurrency=4)
                await asyncio.sleep(0.05)
