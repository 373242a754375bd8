"""Runs in an environment that has grpcio and protobuf alone: everything the client can do, once.

`python round_trip.py HOST:PORT`, against a server that holds session "recorded" with traces, and one
worker. Prints the versions that it ran with.
"""

from __future__ import annotations

import array
import asyncio
import sys
from importlib.metadata import version

from rolltrace.v1 import session_service_pb2, session_service_pb2_grpc
from rolltrace_client import (
    AsyncClient,
    Client,
    NotFound,
    Session,
    SessionDeletedEvent,
    Trace,
    TraceEvent,
    WorkerState,
)
from rolltrace_client.commands.output import as_json


def plain_stubs(target: str) -> None:
    import grpc

    with grpc.insecure_channel(target) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        answer = stub.GetSession(session_service_pb2.GetSessionRequest(session_id="recorded"), timeout=10)
    assert answer.session.session_id == "recorded"


def check_session(session: Session) -> None:
    assert session.base_url.endswith("/sessions/compat/v1"), session.base_url
    assert session.labels == {"a": "b"}
    assert session.metadata == {"n": [1, None, {"x": 0.5}]}
    assert session.create_time is not None
    as_json(session)


def check_trace(trace: Trace) -> None:
    ids: object = trace.prompt_token_ids  # this environment has no numpy
    assert isinstance(ids, array.array)
    assert len(ids) > 0
    assert trace.status == "COMPLETED"
    assert "messages" in trace.request
    as_json(trace)


def sync_client(target: str) -> str:
    with Client(target) as client:
        check_session(
            client.create_session("compat", labels={"a": "b"}, metadata={"n": [1, None, {"x": 0.5}]})
        )
        worker = client.register_worker("http://127.0.0.1:1", worker_id="compat", model_names=["m"])
        assert client.update_worker(worker.worker_id, state=WorkerState.CORDONED).state == "CORDONED"
        assert [w.worker_id for w in client.list_workers()] == ["127.0.0.1:9", "compat"]
        assert client.deregister_worker("compat", drain_timeout=0.1)
        for trace in client.list_traces("recorded", page_size=2):
            check_trace(trace)
        cursor = str(client.flush())
        assert client.delete_session("compat") == 0
        for event in client.subscribe(cursor):
            if isinstance(event, SessionDeletedEvent):
                break
        gone = ""
        try:
            client.get_session("compat")
        except NotFound as error:
            gone = error.resource
        assert gone == "compat", gone
        return client.status().version


async def async_client(target: str) -> None:
    async with AsyncClient(target) as client:
        assert (await client.status()).trace_count > 0
        async with client.subscribe() as events:
            async for event in events:
                if isinstance(event, TraceEvent):
                    check_trace(event.trace)
                    break


def main(target: str) -> None:
    plain_stubs(target)
    service = sync_client(target)
    asyncio.run(async_client(target))
    print(f"grpcio {version('grpcio')}, protobuf {version('protobuf')}, against {service}")


if __name__ == "__main__":
    main(sys.argv[1])
