"""The steps of one call, small (1,000 prompt ids, 200 sampled) and long (16,000 and 500)."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import calls, exchanges
from rolltrace.digest import trace_digest
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.http1.reader import Reader
from rolltrace_proxy.prompts import Prompts
from rolltrace_proxy.sse import EventFramer

SIZES = {"small": (1000, 200), "long": (16_000, 500)}


@pytest.fixture(params=list(SIZES.values()), ids=list(SIZES))
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.mark.parametrize("enforced", [False, True], ids=["usual", "enforced"])
def bench_rewrite(benchmark: BenchmarkFixture, size: tuple[int, int], enforced: bool) -> None:
    call = calls.exchanged(*size, streamed=False)
    benchmark(lambda: calls.planned(call, enforced=enforced))


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
def bench_capture(benchmark: BenchmarkFixture, size: tuple[int, int], streamed: bool) -> None:
    call = calls.exchanged(*size, streamed=streamed)
    plan = calls.planned(call)
    benchmark(lambda: calls.traced(1, plan, call, calls.read(plan, call)))


def bench_capture_next(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    """A whole answer whose prompt the session had before."""
    call, read_prompt = calls.exchanged(*size, streamed=False), Prompts().of("s-1")
    plan = calls.planned(call)
    benchmark(lambda: calls.traced(1, plan, call, calls.read(plan, call, read_prompt)))


def bench_framing(benchmark: BenchmarkFixture) -> None:
    """256 chunks, a chunk a read."""
    pieces = calls.exchanged(1000, 256, streamed=True).pieces

    def frame() -> None:
        framer = EventFramer()
        for piece in pieces:
            framer.feed(piece)

    benchmark(frame)


def bench_usual_rewrite(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    """Of a session without parameters of its own: keys are spliced in."""
    benchmark(partial(calls.planned, calls.exchanged(*size, streamed=False), enforced=False))


def bench_http_with_agent(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    request = exchanges.sent(calls.exchanged(*size, streamed=False))
    benchmark(exchanges.with_agent, Reader(exchanges.MOST), request)


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "sse"])
def bench_http_with_worker(benchmark: BenchmarkFixture, size: tuple[int, int], streamed: bool) -> None:
    call = calls.exchanged(*size, streamed=streamed)
    benchmark(exchanges.with_worker, call.request, exchanges.answered(call))


def bench_digest(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    benchmark(trace_digest, _trace(size))


def bench_encode_first(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    trace = _trace(size)
    benchmark(lambda: calls.histories().encode(trace))


def bench_encode_next(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    """Against the turn before it, from which it differs by little."""
    trace, known, number = _trace(size), calls.histories(), itertools.count(2)
    known.encode(trace)

    def encode() -> None:
        trace.trace_id = f"00000000-0000-0000-0000-{next(number):012}"
        known.committed([known.encode(trace)])

    benchmark(encode)


def bench_whole_way(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    call, number = calls.exchanged(*size, streamed=False), itertools.count(1)
    known = calls.histories()
    benchmark(lambda: known.committed([calls.whole_way(next(number), call, known)]))


def _trace(size: tuple[int, int]) -> pb.Trace:
    call = calls.exchanged(*size, streamed=False)
    plan = calls.planned(call)
    return calls.traced(1, plan, call, calls.read(plan, call))
