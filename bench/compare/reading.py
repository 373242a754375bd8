"""How fast stored traces reach a subscriber.

10,000 traces of about 8 KB, in sessions of ten turns whose histories grow, are read from the first to the
last by a subscriber in a process of its own that takes the messages as they are.

Usage of the subscriber: python -m bench.compare.reading TARGET COUNT VIEW
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
from tests.servers import free_port

from bench.compare.rows import Row
from bench.compare.targets import MINE
from bench.pair import Pair, running
from rolltrace.v1 import trace_pb2
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub
from rolltrace_store import Commit, open_store

COUNT = 10_000
TURNS = 10
SHOWN = {"subscribe": ("traces/s", "MB/s")}


def traces(count: int) -> Iterator[trace_pb2.Trace]:
    """FULL, 8 KB on average: 1,300 prompt ids, 100 sampled with log-probabilities, the request's text."""
    chance = random.Random(5)
    ids = text = b""
    for number in range(count):
        session, turn = divmod(number, TURNS)
        if not turn:
            ids = chance.randbytes(4 * (400 + 200 * TURNS))
            text = chance.randbytes(700 * TURNS).hex().encode()
        prompt = 4 * (400 + 200 * turn)
        sampled = trace_pb2.Completion(
            token_ids=ids[prompt : prompt + 400], logprobs=chance.randbytes(400), finish_reason="stop"
        )
        yield trace_pb2.Trace(
            trace_id=str(uuid.UUID(int=number)),
            session_id=f"s-{session}",
            model="bench",
            endpoint="chat/completions",
            http_status=200,
            status=trace_pb2.CALL_STATUS_COMPLETED,
            prompt_token_ids=ids[:prompt],
            completions=[sampled],
            request_json=text[: 300 + 400 * turn],
        )


async def _fill(path: Path) -> None:
    store = open_store(path, proxy=True)
    pending: list[asyncio.Future[Commit]] = []
    for trace in traces(COUNT):
        pending.append(asyncio.ensure_future(store.append_trace(trace)))
        if len(pending) == 500:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    await store.close()


def measure(rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(_fill(folder / "data"))
        pair = Pair(folder, f"http://127.0.0.1:{free_port()}")
        with running(pair.control, pair.control_answers):
            for number in range(rounds):
                for view in ("FULL", "COMPACT"):
                    command = [sys.executable, "-m", "bench.compare.reading", pair.target, str(COUNT), view]
                    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout
                    yield Row("subscribe", f"{MINE}, {view}", number, json.loads(said))


def subscriber(target: str, count: int, view: str) -> None:
    request = pb.SubscribeRequest(
        position=pb.START_POSITION_EARLIEST,
        view=trace_pb2.TraceView.Value(f"TRACE_VIEW_{view}"),
        accept_compressions=[trace_pb2.COMPRESSION_ZSTD],
    )
    got = size = 0
    begun = 0.0
    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        for response in TraceServiceStub(channel).Subscribe(request):
            begun = begun or time.perf_counter()  # the header is here
            got += sum(event.HasField("trace") for event in response.batch.events)
            size += response.ByteSize()
            if got >= count:
                break
    took = time.perf_counter() - begun
    print(json.dumps({"traces/s": got / took, "MB/s": size / took / 1e6}))


if __name__ == "__main__":
    subscriber(sys.argv[1], int(sys.argv[2]), sys.argv[3])
