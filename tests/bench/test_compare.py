"""The comparison's arithmetic, and that its load takes nothing broken for an answer."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial

import pytest
from bench.compare import bounds, report, rows
from bench.compare.bounds import Bound, Verdict
from bench.compare.load import Loaded, load
from bench.compare.rows import Row, Spread
from bench.compare.targets import DIRECT, MINE, NGINX, ROUTER, TARGETS
from bench.compare.worker import Connection, Steps

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


def test_what_was_not_measured_is_not_judged() -> None:
    assert list(bounds.verdicts({("a", MINE): {"calls/s": Spread(1, 1, 1)}})) == []


def test_a_bound_beside_another_is_on_the_ratio() -> None:
    measured = {("a", name): {"CPU ms/call": Spread(cpu, 0, 9)} for name, cpu in ((MINE, 4.0), (ROUTER, 2.0))}
    (ratio,) = (verdict for verdict in bounds.verdicts(measured) if verdict.bound.beside)
    assert (ratio.reached, ratio.good) == (2, True)


def test_every_bound_is_on_a_row_that_can_be() -> None:
    known = {target.name for target in TARGETS}
    for bound in bounds.BOUNDS:
        assert bound.target.partition(", ")[0] in known


def test_a_table_says_what_a_target_lacks() -> None:
    measured = {("a", "x"): {"p": Spread(1, 1, 1)}, ("a", "y"): {"p": Spread(2, 1, 3), "q": Spread(5, 5, 5)}}
    lines = list(report.scenario("a", "title", ("p", "q", "none"), measured))
    assert lines[2:] == ["| target | p | q |", "|---|---|---|", "| x | 1 | - |", "| y | 2 (1-3) | 5 |", ""]


async def loaded(
    connection: type[asyncio.Protocol] | partial[Connection], *, stream: bool, rate: float = 0
) -> Loaded:
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    given = argparse.Namespace(port=port, path="/{sid}", prefix="s-", bytes=400, grow=100)
    given.stream, given.turns, given.seconds, given.connections, given.rate = stream, 3, 1.0, 2, rate
    async with server:
        return await load(given)


@pytest.mark.parametrize("pace", [0.0, 0.002])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_load_makes_its_calls_on_the_worker(stream: bool, pace: float) -> None:
    seen = await loaded(partial(Connection, 7, 0, Steps(pace) if pace else None), stream=stream)
    assert (seen.errors, seen.calls, len(seen.latencies)) == ([], 6, 6)
    assert seen.chunks == (6 * 10 if stream else 0)  # the role, the tokens, usage, [DONE]


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
