"""A subscriber in a process of its own: says "ready", then "TRACE_ID NANOSECONDS" for each trace it gets.

Usage: python -m bench.listener TARGET COUNT. Times are those of the machine's monotonic clock.
"""

import sys
import time

import grpc

from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub


def main(target: str, count: int) -> None:
    got: list[tuple[str, int]] = []
    with grpc.insecure_channel(target) as channel:
        request = pb.SubscribeRequest(position=pb.START_POSITION_LATEST)
        for response in TraceServiceStub(channel).Subscribe(request, wait_for_ready=True):
            now = time.monotonic_ns()
            if response.HasField("header"):
                print("ready", flush=True)
            got += [(event.trace.trace_id, now) for event in response.batch.events if event.HasField("trace")]
            if len(got) >= count:
                break
    for trace_id, at in got:
        print(trace_id, at)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
