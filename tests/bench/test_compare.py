"""The comparison's arithmetic, and that its load takes nothing broken for an answer."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import bench.__main__
import pytest
from bench.__main__ import Scenario
from bench.compare import bounds, growing, needs, parts, proxies, report, rows
from bench.compare.bounds import Bound, Verdict
from bench.compare.gateway import running
from bench.compare.load import Loaded, load
from bench.compare.rows import Row, Spread
from bench.compare.targets import DIRECT, MINE, NGINX, ROUTER, TARGETS, Target
from bench.compare.worker import Connection, Steps

from tests.servers import free_port

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_ratio_is_taken_within_its_round() -> None:
    measured = [
        Row("d", target, number, {"mean ms": mean, "p50 ms": mean, "p99 ms": mean, "calls/s": calls})
        for number, target, mean, calls in (
            *((0, DIRECT, 100.0, 4.0), (0, NGINX, 110.0, 2.0), (0, MINE, 120.0, 1.0)),
            *((1, DIRECT, 1000.0, 40.0), (1, NGINX, 1010.0, 20.0), (1, MINE, 1200.0, 10.0)),
        )
    ]
    of_mine = rows.spreads(rows.with_ratios(measured))["d", MINE]
    assert of_mine["added p50 ms"] == Spread(110, 20, 200)
    assert of_mine["added time %"].median == pytest.approx(20)
    assert of_mine["of nginx's calls %"] == Spread(50, 50, 50)


@pytest.mark.parametrize(
    ("bound", "reached", "good"),
    [
        (Bound("a", "x", 2), 2, True),
        (Bound("a", "x", 2), 2.1, False),
        (Bound("a", "x", 2, at_least=True), 2, True),
        (Bound("a", "x", 2, at_least=True), 1.9, False),
    ],
)
def test_a_verdict_can_be_bad(bound: Bound, reached: float, good: bool) -> None:
    assert Verdict(bound, reached).good is good
    assert ("missed" in Verdict(bound, reached).cells()[-1]) is not good


def test_a_scenario_that_was_not_run_is_not_judged() -> None:
    assert {verdict.bound.scenario for verdict in bounds.verdicts({("a", MINE): {}})} == {"a"}


def test_what_is_missing_is_told() -> None:
    measured = {("e", MINE): {"read CPU ms": Spread(1, 1, 1)}}
    told = {
        (verdict.bound.target, verdict.bound.value): str(verdict) for verdict in bounds.verdicts(measured)
    }
    assert told[MINE, "read CPU ms"] == "met"
    assert told[MINE, "disk MB"].startswith("not measured")
    assert told[bounds.REST, "read CPU ms"] == "not measured: rllm-model-gateway is missing"


def test_a_row_with_errors_meets_nothing() -> None:
    measured = {("start", MINE): {"healthy after s": Spread(1, 1, 1), "errors": Spread(0, 0, 1)}}
    first = next(bounds.verdicts(measured))
    assert (first.good, str(first)) == (False, "**errors**")


def test_a_bound_beside_another_is_on_the_ratio() -> None:
    measured = {("a", name): {"CPU ms/call": Spread(cpu, 0, 9)} for name, cpu in ((MINE, 4.0), (ROUTER, 2.0))}
    (ratio,) = (verdict for verdict in bounds.verdicts(measured) if verdict.bound.beside == ROUTER)
    assert (ratio.reached, ratio.good) == (2, True)


def test_every_bound_is_on_a_row_that_can_be() -> None:
    known = {target.name for target in TARGETS}
    for bound in bounds.BOUNDS:
        assert bound.target.partition(", ")[0] in known


def test_a_table_says_what_a_target_lacks() -> None:
    measured = {("a", "x"): {"p": Spread(1, 1, 1)}, ("a", "y"): {"p": Spread(2, 1, 3), "q": Spread(5, 5, 5)}}
    lines = list(report.scenario("a", "title", ("p", "q", "none"), measured))
    assert lines[2:] == ["| target | p | q |", "|---|---|---|", "| x | 1 | - |", "| y | 2 (1-3) | 5 |", ""]


def test_a_run_takes_the_place_of_the_last_one() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.placed(document, "new\n")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.placed(once, "new\n") == once
    assert report.placed("no place", "new\n") == "new\n"


@pytest.mark.parametrize(("last", "percent"), [((4.0, 5.0), 100), ((4.0, 10.0), 200)])
def test_cpu_is_judged_by_the_line_of_the_shorter_sessions(last: tuple[float, float], percent: float) -> None:
    assert growing.of_line((1.0, 2.0), (2.0, 3.0), last) == pytest.approx(percent)


def test_noise_makes_no_line_that_falls() -> None:
    assert growing.of_line((1.0, 3.0), (2.0, 2.0), (4.0, 2.0)) == pytest.approx(100)


def test_capacity_counts_idle_time_and_nobody_elses() -> None:
    assert proxies.capacity(calls=100, used=2.0, idle=0.0, proxies=2) == 100
    assert proxies.capacity(calls=100, used=1.0, idle=1.0, proxies=2) == 100
    assert proxies.capacity(calls=100, used=1.0, idle=1.0, proxies=1) == 100


def test_needs_are_calculated() -> None:
    price = needs.Prices(chunk=30e-6, call=1e-3, proxy=100e6, stream=50e3, token=10)
    streamed = needs.needs(needs.Agents(1000), price, streamed=True)
    assert (streamed["calls/s"], streamed["tokens/s"], streamed["open calls"]) == (50, 25_000, 500)
    assert streamed["cores"] == pytest.approx(0.75)
    assert streamed["proxies"] == 2
    assert streamed["disk GB/day"] == pytest.approx(21.6)
    assert needs.needs(needs.Agents(1000), price, streamed=False)["cores"] == pytest.approx(0.05)


def test_needs_are_not_told_where_a_price_is_missing() -> None:
    assert list(needs.told({("a", MINE): {"own MiB": Spread(1, 1, 1)}})) == []


@pytest.mark.parametrize("kind", parts.KINDS, ids=lambda kind: kind.column)
def test_a_call_of_every_kind_can_be_taken_apart(kind: parts.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(parts, "TRACES", parts.AT_ONCE)
    took = parts.steps(kind)
    assert len(took) == 6
    assert all(seconds >= 0 for seconds in took.values())


def test_a_target_that_does_not_come_up_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Target("broken", "/", lambda places: [sys.executable, "-c", "raise SystemExit('no port')"])
    with running(iter([broken]), 1, tmp_path) as gateways:
        assert gateways == []
    assert "broken did not come up:\nno port" in capsys.readouterr().err


async def loaded(
    connection: type[asyncio.Protocol] | partial[Connection], *, stream: bool, rate: float = 0
) -> Loaded:
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    given = argparse.Namespace(port=port, path="/{sid}", prefix="s-", bytes=400, grow=100, fresh=False)
    given.stream, given.turns, given.seconds, given.connections, given.rate = stream, 3, 1.0, 2, rate
    async with server:
        return await load(given)


@pytest.mark.parametrize("pace", [0.0, 0.002])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_load_makes_its_calls_on_the_worker(stream: bool, pace: float) -> None:
    seen = await loaded(partial(Connection, 7, 0, Steps(pace) if pace else None), stream=stream)
    assert (seen.errors, seen.calls, len(seen.latencies)) == ([], 6, 6)
    assert seen.chunks == (6 * 10 if stream else 0)  # the role, the tokens, usage, [DONE]


async def test_a_rate_holds_the_load_back() -> None:
    seen = await loaded(partial(Connection, 7, 0, None), stream=False, rate=50)
    assert (seen.errors, seen.calls) == ([], 6)
    assert seen.per_second <= 50


async def test_chunks_are_counted_however_they_are_cut() -> None:
    event = b"14\r\ndata: some more words\n\n\r\n"
    head, done = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"e\r\ndata: [DONE]\n\n\r\n"
    stream = head + 9 * event + done + b"0\r\n\r\n"

    class Cutting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport
            self.size = 0

        def data_received(self, data: bytes) -> None:
            self.size += 1
            self.go_on(stream)

        def go_on(self, left: bytes) -> None:
            self.transport.write(left[: self.size * 11])
            if left := left[self.size * 11 :]:
                asyncio.get_running_loop().call_later(0.001, self.go_on, left)

    seen = await loaded(Cutting, stream=True)
    assert (seen.errors, seen.calls, seen.chunks) == ([], 6, 60)


async def test_nobody_who_listens_is_an_error() -> None:
    given = argparse.Namespace(
        port=free_port(), path="/{sid}", prefix="s-", bytes=400, grow=0, rate=0, fresh=False
    )
    given.stream, given.turns, given.seconds, given.connections = False, 1, 1.0, 2
    seen = await load(given)
    assert (seen.calls, len(seen.errors)) == (0, 2)


@pytest.mark.parametrize(
    "said",
    [
        WHOLE.replace(b"200", b"503"),
        WHOLE.replace(b"{}", b"{,"),
        WHOLE.replace(b"Length: 2", b"Length: 9"),
        b"",
    ],
    ids=["status", "end", "short", "nothing"],
)
async def test_a_broken_answer_is_an_error(said: bytes) -> None:
    class Broken(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(said)
            self.transport.close()

    seen = await loaded(Broken, stream=False)
    assert (seen.calls, len(seen.errors)) == (0, 2)


def test_a_scenario_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(rounds: int, seconds: float) -> Iterator[Row]:
        yield Row("broken", MINE, 0, {"x": 1.0})
        raise ZeroDivisionError("no calls")

    def works(rounds: int, seconds: float) -> Iterator[Row]:
        yield Row("good", MINE, 0, {"x": 2.0})

    scenarios = {"broken": Scenario("b", ("x",), breaks), "good": Scenario("g", ("x",), works)}
    monkeypatch.setattr(bench.__main__, "SCENARIOS", scenarios)
    given = argparse.Namespace(rounds=1, seconds=1.0)
    lines = list(bench.__main__.run(list(scenarios), given, tmp_path / "kept.jsonl"))
    assert "| rolltrace | 1 | - |" in lines
    assert "| the scenario itself | - | 1 |" in lines
    assert "| rolltrace | 2 |" in lines
    assert "ZeroDivisionError('no calls')" in capsys.readouterr().err
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 3
