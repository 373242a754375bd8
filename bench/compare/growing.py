"""One session whose history grows: what it takes on disk, what a turn costs, and reading it back.

A turn's request repeats the turns before it, so that its CPU grows with its own size, whatever is done with
it: it must be received, sent on and parsed. Whether anything else grows is told from sessions of three
lengths. If a turn costs a constant and a price for each byte, CPU over bytes is a line; the CPU a turn of the
longest sessions is told as a part of what the line through the two shorter lengths says for its bytes.
Each length makes the same number of turns in all. (To take off what nginx uses for the same bytes would
leave the parsing, which grows with the request as well.)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc

from bench.compare.bounds import REST
from bench.compare.gateway import Gateway, running, worker
from bench.compare.rows import Row
from bench.compare.targets import MINE, RLLM, there
from bench.watch import quantile
from rolltrace.v1 import trace_pb2
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub

GROW = 2000
"""Bytes of the request, 500 tokens, a turn."""
READS = 20
READS_BY_HTTP = 2
SESSION = "growing-0-0"
TRACES = f"/sessions/{SESSION}/traces"
FIRST = 4000
"""Bytes of the first turn's request."""
SHOWN = {
    "e": ("disk MB", "CPU ms/turn", "read CPU ms", "read ms", "read MB", "traces"),
    "turns": ("disk KB/turn", "request KB", "CPU ms/turn", "of the line's %", "p50 ms"),
}
TURNS = (100, 200, 400)


def measure(rounds: int) -> Iterator[Row]:
    """50 turns, then the session's traces read back: by gRPC COMPACT, and over HTTP."""
    for number in range(rounds // 2 or 1):
        for gateway, values in _sessions((MINE, RLLM), 50, 1):
            disk = 50 * values.pop("disk KB/turn") / 1e3
            name = gateway.target.name
            found = {"disk MB": disk, "CPU ms/turn": values["CPU ms/turn"], "errors": values["errors"]}
            if name == RLLM:
                yield Row("e", name, number, {**found, **_read(gateway, _get, READS_BY_HTTP)})
                continue
            yield Row("e", name, number, {**found, **_read(gateway, _list, READS)})
            yield Row("e", REST, number, _read(gateway, _get, READS_BY_HTTP))


def measure_turns(rounds: int) -> Iterator[Row]:
    """Rolltrace alone: whether a turn's cost grows with the turns before it."""
    for number in range(rounds):
        points: list[tuple[float, float]] = []
        for turns in TURNS:
            for _, values in _sessions((MINE,), turns, TURNS[-1] // turns):
                points.append((values["request KB"], values["CPU ms/turn"]))
                if len(points) == len(TURNS):
                    values["of the line's %"] = of_line(*points)
                yield Row("turns", f"{MINE}, {turns} turns", number, values)


def of_line(first: tuple[float, float], second: tuple[float, float], last: tuple[float, float]) -> float:
    """Percent of what the line through the first two points (size, CPU) says at the last one's size."""
    slope = max(0.0, (second[1] - first[1]) / (second[0] - first[0]))
    return 100 * last[1] / (second[1] + slope * (last[0] - second[0]))


def _sessions(names: Sequence[str], turns: int, sessions: int) -> Iterator[tuple[Gateway, dict[str, float]]]:
    """In gateways started anew, so that their disk is that of these sessions."""
    with tempfile.TemporaryDirectory() as folder, worker("--tokens 200", Path(folder)) as served:
        chosen = (target for target in there() if target.name in names)
        with running(chosen, served.port, Path(folder) / "gateways") as gateways:
            for gateway in gateways:
                yield gateway, _run(gateway, turns, sessions)


def _run(gateway: Gateway, turns: int, sessions: int) -> dict[str, float]:
    empty, cpu = gateway.disk(), 0.0
    latencies: list[float] = []
    errors: list[str] = []
    for number in range(sessions):
        seen, used = gateway.load(f"--turns {turns} --grow {GROW} --bytes {FIRST} --prefix growing-{number}-")
        latencies, errors, cpu = latencies + seen.latencies, errors + seen.errors, cpu + used
    if errors or len(latencies) != turns * sessions:
        print(f"{gateway.target.name}: {len(latencies)} of {turns} turns: {errors[:3]}", file=sys.stderr)
    if gateway.target.flush:
        gateway.get(gateway.target.flush, "POST")
    calls = max(len(latencies), 1)
    return {
        "disk KB/turn": (gateway.disk() - empty) / calls / 1e3,
        "request KB": (FIRST + GROW * (turns - 1) / 2) / 1e3,
        "CPU ms/turn": 1e3 * cpu / calls,
        "p50 ms": 1e3 * quantile(latencies, 0.5),
        "errors": float(len(errors)),
    }


def _read(gateway: Gateway, read: Callable[[Gateway], tuple[int, int]], times: int) -> dict[str, float]:
    """A mean; `read` returns bytes and traces."""
    size = count = 0
    before, begun = gateway.quiet_cpu(), time.perf_counter()
    for _ in range(times):
        size, count = read(gateway)
    took = time.perf_counter() - begun
    return {
        "read CPU ms": 1e3 * (gateway.quiet_cpu() - before) / times,
        "read ms": 1e3 * took / times,
        "read MB": size / 1e6,
        "traces": float(count),
    }


def _get(gateway: Gateway) -> tuple[int, int]:
    body = gateway.get(TRACES)
    return len(body), body.count(b'"trace_id"')


def _list(gateway: Gateway) -> tuple[int, int]:
    """Reads all COMPACT."""
    size = count = 0
    request = pb.ListTracesRequest(
        session_id=SESSION,
        view=trace_pb2.TRACE_VIEW_COMPACT,
        accept_compressions=[trace_pb2.COMPRESSION_ZSTD],
    )
    target = f"127.0.0.1:{gateway.places.control_port}"
    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        while True:
            page = TraceServiceStub(channel).ListTraces(request)
            size, count = size + page.ByteSize(), count + len(page.traces)
            if not page.next_page_token:
                return size, count
            request.page_token = page.next_page_token
