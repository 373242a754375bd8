"""Proxies as other processes see them. tests/store/test_processes.py kills one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolltrace_store import CorruptError, open_store
from rolltrace_store.presence import Presence, live_proxies
from tests.store import samples
from tests.store.processes import options


async def test_a_proxy_is_seen_until_it_closes(path: Path) -> None:
    proxy = open_store(path, options(), proxy=True)
    (report,) = await proxy.live_proxies()
    assert report.in_flight == {}
    proxy.report_proxy({"w-1": 1, "w-2": 3})
    (later,) = await proxy.live_proxies()
    assert later.proxy_id == report.proxy_id
    assert later.in_flight == {"w-1": 1, "w-2": 3}
    await proxy.close()
    assert list((path / "proxies").iterdir()) == []


async def test_only_proxies_are_seen_and_admit_calls(path: Path) -> None:
    store = open_store(path, options())
    store.report_proxy({"w-1": 1})
    assert await store.live_proxies() == []
    with pytest.raises(RuntimeError, match="proxy=True"):
        store.admit(samples.trace(), 0)
    await store.close()


def test_each_incarnation_is_seen_by_itself(path: Path) -> None:
    path.mkdir()
    proxies = [Presence(path) for _ in range(3)]
    proxies[1].report({"w": 1})
    seen = {report.proxy_id: report.in_flight for report in live_proxies(path)}
    assert seen == {proxy.proxy_id: {"w": 1} if proxy is proxies[1] else {} for proxy in proxies}
    proxies.pop().close()
    assert len(live_proxies(path)) == 2
    for proxy in proxies:
        proxy.close()


def test_half_a_change_is_never_taken_for_a_report(path: Path) -> None:
    path.mkdir()
    proxy = Presence(path)
    proxy.report({"w-1": 1, "w-2": 2})
    (file,) = (path / "proxies").iterdir()
    whole = file.read_bytes()
    for size in (0, 4, 8, 9, len(whole) // 2, len(whole) - 1):
        with file.open("r+b") as torn:
            torn.write(whole[:size] + b"\0" * (len(whole) - size))
        with pytest.raises(CorruptError):
            live_proxies(path)
    proxy.report({"w": 1})
    (report,) = live_proxies(path)
    assert report.in_flight == {"w": 1}
    proxy.close()
