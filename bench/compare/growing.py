"""One session whose history grows: what it takes on disk, what a turn costs, and reading it back."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc

from bench.compare.gateway import Gateway, running, worker
from bench.compare.rows import Row
from bench.compare.targets import MINE, RLLM, there
from rolltrace.v1 import trace_pb2
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub

GROW = 2000
"""Bytes of the request, 500 tokens, a turn."""
READS = 5
SESSION = "growing-0"
SHOWN = {
    "e": ("disk MB", "CPU ms/turn", "read CPU ms", "read ms", "read MB", "traces"),
    "turns": ("disk KB/turn", "CPU ms/turn", "p50 ms", "CPU ms/MB"),
}
TURNS = (100, 200, 400)


def measure(rounds: int) -> Iterator[Row]:
    """50 turns, then the session's traces read back: gRPC COMPACT from Rolltrace, HTTP from the other."""
    for number in range(rounds // 2 or 1):
        for name, turns, gateway, values in _sessions((MINE, RLLM), (50,)):
            disk = 1e3 * values["disk KB/turn"] * turns
            found = {"disk MB": disk / 1e6, "CPU ms/turn": values["CPU ms/turn"], **_read(gateway)}
            yield Row("e", name, number, found)


def measure_turns(rounds: int) -> Iterator[Row]:
    """Rolltrace alone: whether a turn's cost grows with the turns before it."""
    for number in range(rounds):
        for name, turns, _, values in _sessions((MINE,), TURNS):
            yield Row("turns", f"{name}, {turns} turns", number, values)


def _sessions(
    names: Sequence[str], lengths: Sequence[int]
) -> Iterator[tuple[str, int, Gateway, dict[str, float]]]:
    """Each length in a gateway started anew, so that its disk is that session's."""
    with tempfile.TemporaryDirectory() as folder, worker("--tokens 200", Path(folder)) as port:
        for turns in lengths:
            chosen = (target for target in there() if target.name in names)
            with running(chosen, port, Path(folder) / str(turns)) as gateways:
                for gateway in gateways:
                    yield gateway.target.name, turns, gateway, _run(gateway, turns)


def _run(gateway: Gateway, turns: int) -> dict[str, float]:
    empty = gateway.disk()
    arguments = f"--turns {turns} --grow {GROW} --bytes 4000 --prefix growing-"
    seen, cpu = gateway.load(arguments)
    if seen.errors or seen.calls != turns:
        print(f"{gateway.target.name}: {seen.calls} of {turns} turns: {seen.errors[:3]}", file=sys.stderr)
    if gateway.target.flush:
        gateway.get(gateway.target.flush, "POST")
    calls = max(seen.calls, 1)
    sent = sum(4000 + GROW * turn for turn in range(calls)) / 1e6
    return {
        "disk KB/turn": (gateway.disk() - empty) / calls / 1e3,
        "CPU ms/turn": 1e3 * cpu / calls,
        "p50 ms": 1e3 * seen.latencies[len(seen.latencies) // 2] if seen.latencies else 0.0,
        "CPU ms/MB": 1e3 * cpu / sent,
    }


def _read(gateway: Gateway) -> dict[str, float]:
    """A mean of READS."""
    before, begun = gateway.quiet_cpu(), time.perf_counter()
    size = count = 0
    for _ in range(READS):
        if gateway.target.traces:
            body = gateway.get(gateway.target.traces.replace("{sid}", SESSION))
            size, count = len(body), body.count(b'"trace_id"')
        else:
            size, count = _list(f"127.0.0.1:{gateway.places.control_port}")
    took = time.perf_counter() - begun
    return {
        "read CPU ms": 1e3 * (gateway.quiet_cpu() - before) / READS,
        "read ms": 1e3 * took / READS,
        "read MB": size / 1e6,
        "traces": float(count),
    }


def _list(target: str) -> tuple[int, int]:
    """Reads all COMPACT. Returns bytes of messages, and traces."""
    size = count = 0
    request = pb.ListTracesRequest(
        session_id=SESSION,
        view=trace_pb2.TRACE_VIEW_COMPACT,
        accept_compressions=[trace_pb2.COMPRESSION_ZSTD],
    )
    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        while True:
            page = TraceServiceStub(channel).ListTraces(request)
            size, count = size + page.ByteSize(), count + len(page.traces)
            if not page.next_page_token:
                return size, count
            request.page_token = page.next_page_token
