"""A small control service over real gRPC, in memory, which can be stopped, restarted and made to fail.

It keeps the contract where the client leans on it: cursors, compact traces, paging, request ids, details.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from rolltrace.v1 import event_pb2, session_pb2, worker_pb2
from rolltrace.v1 import gateway_service_pb2 as gateway
from rolltrace.v1 import gateway_service_pb2_grpc as gateway_grpc
from rolltrace.v1 import policy_service_pb2 as policy
from rolltrace.v1 import policy_service_pb2_grpc as policy_grpc
from rolltrace.v1 import session_service_pb2 as session
from rolltrace.v1 import session_service_pb2_grpc as session_grpc
from rolltrace.v1 import trace_service_pb2 as trace
from rolltrace.v1 import trace_service_pb2_grpc as trace_grpc
from rolltrace.v1 import worker_service_pb2 as worker
from rolltrace.v1 import worker_service_pb2_grpc as worker_grpc

from .canned_state import EPOCH, State

Context = grpc.ServicerContext
A = TypeVar("A", bound=Message)
M = TypeVar("M")


def refuse(context: Context, code: grpc.StatusCode, message: str, *details: Message) -> NoReturn:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    if details:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)
    raise AssertionError


class Service(
    session_grpc.SessionServiceServicer,
    worker_grpc.WorkerServiceServicer,
    gateway_grpc.GatewayServiceServicer,
    policy_grpc.PolicyServiceServicer,
    trace_grpc.TraceServiceServicer,
):
    def __init__(self, state: State) -> None:
        self.state = state

    def _begin(self, name: str, context: Context) -> None:
        self.state.calls[name] += 1
        while self.state.hold and context.is_active():
            self.state.held.set()
            time.sleep(0.01)
        if self.state.unavailable > 0:
            self.state.unavailable -= 1
            refuse(context, grpc.StatusCode.UNAVAILABLE, "restarting", error_details_pb2.RetryInfo())

    def _once(self, request_id: str, context: Context, change: Callable[[], Message]) -> Message:
        assert request_id, "a mutation without a request_id cannot be repeated"
        if request_id not in self.state.answered:
            self.state.answered[request_id] = change()
        if self.state.answers_lost > 0:
            self.state.answers_lost -= 1
            refuse(context, grpc.StatusCode.UNAVAILABLE, "answer lost", error_details_pb2.RetryInfo())
        return self.state.answered[request_id]

    def _change(self, name: str, request_id: str, context: Context, change: Callable[[], A]) -> A:
        self._begin(name, context)
        return cast("A", self._once(request_id, context, change))

    def _new(self, wanted: session_pb2.Session, context: Context) -> session_pb2.Session:
        made = session_pb2.Session()
        made.CopyFrom(wanted)
        made.session_id = made.session_id or f"made-{len(self.state.sessions)}"
        if made.session_id in self.state.sessions:
            resource = error_details_pb2.ResourceInfo(resource_name=made.session_id)
            refuse(context, grpc.StatusCode.ALREADY_EXISTS, f"session {made.session_id} exists", resource)
        if made.session_id.startswith("/"):
            broken = error_details_pb2.BadRequest()
            broken.field_violations.add(field="session.session_id", description="begins with a slash")
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "session_id begins with a slash", broken)
        made.state = session_pb2.SESSION_STATE_OPEN
        made.base_url = f"http://127.0.0.1:9090/sessions/{made.session_id}/v1"
        made.create_time.FromJsonString("2026-01-02T03:04:05.5Z")
        self.state.sessions[made.session_id] = made
        return made

    def _session(self, session_id: str, context: Context) -> session_pb2.Session:
        if session_id not in self.state.sessions:
            resource = error_details_pb2.ResourceInfo(resource_name=session_id)
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no session {session_id!r}", resource)
        return self.state.sessions[session_id]

    def _delete(self, session_id: str) -> int:
        gone = [found.trace_id for found in self.state.of_session(session_id)]
        for trace_id in gone:
            del self.state.traces[trace_id]
        del self.state.sessions[session_id]
        with self.state.changed:
            self.state.log = [e for e in self.state.log if e.trace.session_id != session_id]
            self.state.append(
                event_pb2.Event(
                    session_deleted=event_pb2.SessionDeleted(
                        session_id=session_id, deleted_trace_count=len(gone)
                    )
                )
            )
        return len(gone)

    def CreateSession(
        self, request: session.CreateSessionRequest, context: Context
    ) -> session.CreateSessionResponse:
        def change() -> session.CreateSessionResponse:
            return session.CreateSessionResponse(session=self._new(request.session, context))

        return self._change("CreateSession", request.request_id, context, change)

    def BatchCreateSessions(
        self, request: session.BatchCreateSessionsRequest, context: Context
    ) -> session.BatchCreateSessionsResponse:
        def change() -> session.BatchCreateSessionsResponse:
            made = [self._new(wanted, context) for wanted in request.sessions]
            return session.BatchCreateSessionsResponse(sessions=made)

        return self._change("BatchCreateSessions", request.request_id, context, change)

    def UpdateSession(
        self, request: session.UpdateSessionRequest, context: Context
    ) -> session.UpdateSessionResponse:
        self._begin("UpdateSession", context)
        return session.UpdateSessionResponse(session=self._session(request.session.session_id, context))

    def GetSession(self, request: session.GetSessionRequest, context: Context) -> session.GetSessionResponse:
        self._begin("GetSession", context)
        return session.GetSessionResponse(session=self._session(request.session_id, context))

    def ListSessions(
        self, request: session.ListSessionsRequest, context: Context
    ) -> session.ListSessionsResponse:
        self._begin("ListSessions", context)
        chosen = request.filter
        found = [
            made
            for name, made in sorted(self.state.sessions.items())
            if name.startswith(chosen.session_id_prefix)
            and chosen.state in (session_pb2.SESSION_STATE_UNSPECIFIED, made.state)
            and (not chosen.group_id or made.group_id == chosen.group_id)
            and all(made.labels.get(key) == value for key, value in chosen.labels.items())
        ]
        page, token = paged(found, request.page_size, request.page_token)
        return session.ListSessionsResponse(sessions=page, next_page_token=token)

    def SealSession(
        self, request: session.SealSessionRequest, context: Context
    ) -> session.SealSessionResponse:
        def change() -> session.SealSessionResponse:
            self.state.sealed_with.append(request)
            found = self._session(request.session_id, context)
            if found.state == session_pb2.SESSION_STATE_SEALED and found.outcome != request.outcome:
                info = error_details_pb2.ErrorInfo(reason="SESSION_SEALED")
                refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "another outcome", info)
            if self.state.busy:
                info = error_details_pb2.ErrorInfo(reason="SESSION_SEALING")
                refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, "2 of its calls run", info)
            self.state.seal(found, request.outcome)
            return session.SealSessionResponse(session=found)

        return self._change("SealSession", request.request_id, context, change)

    def DeleteSession(
        self, request: session.DeleteSessionRequest, context: Context
    ) -> session.DeleteSessionResponse:
        def change() -> session.DeleteSessionResponse:
            self._session(request.session_id, context)
            return session.DeleteSessionResponse(deleted_trace_count=self._delete(request.session_id))

        return self._change("DeleteSession", request.request_id, context, change)

    def BatchDeleteSessions(
        self, request: session.BatchDeleteSessionsRequest, context: Context
    ) -> session.BatchDeleteSessionsResponse:
        def change() -> session.BatchDeleteSessionsResponse:
            known = [name for name in request.session_ids if name in self.state.sessions]
            return session.BatchDeleteSessionsResponse(
                deleted_session_ids=known,
                missing_session_ids=[name for name in request.session_ids if name not in known],
                deleted_trace_count=sum(self._delete(name) for name in known),
            )

        return self._change("BatchDeleteSessions", request.request_id, context, change)

    def RegisterWorker(
        self, request: worker.RegisterWorkerRequest, context: Context
    ) -> worker.RegisterWorkerResponse:
        def change() -> worker.RegisterWorkerResponse:
            made = worker_pb2.Worker()
            made.CopyFrom(request.worker)
            made.worker_id = made.worker_id or made.url.removeprefix("http://")
            made.api_key = ""
            made.state = worker_pb2.WORKER_STATE_ACTIVE
            self.state.workers[made.worker_id] = made
            return worker.RegisterWorkerResponse(worker=made)

        return self._change("RegisterWorker", request.request_id, context, change)

    def UpdateWorker(
        self, request: worker.UpdateWorkerRequest, context: Context
    ) -> worker.UpdateWorkerResponse:
        def change() -> worker.UpdateWorkerResponse:
            known = self._worker(request.worker.worker_id, context)
            request.update_mask.MergeMessage(request.worker, known, replace_repeated_field=True)
            return worker.UpdateWorkerResponse(worker=known)

        return self._change("UpdateWorker", request.request_id, context, change)

    def DeregisterWorker(
        self, request: worker.DeregisterWorkerRequest, context: Context
    ) -> worker.DeregisterWorkerResponse:
        def change() -> worker.DeregisterWorkerResponse:
            self._worker(request.worker_id, context)
            del self.state.workers[request.worker_id]
            return worker.DeregisterWorkerResponse(drained=True)

        return self._change("DeregisterWorker", request.request_id, context, change)

    def ListWorkers(self, request: worker.ListWorkersRequest, context: Context) -> worker.ListWorkersResponse:
        self._begin("ListWorkers", context)
        found = [made for _, made in sorted(self.state.workers.items())]
        page, token = paged(found, request.page_size, request.page_token)
        return worker.ListWorkersResponse(workers=page, next_page_token=token)

    def _worker(self, worker_id: str, context: Context) -> worker_pb2.Worker:
        if worker_id not in self.state.workers:
            resource = error_details_pb2.ResourceInfo(resource_name=worker_id)
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no worker {worker_id!r}", resource)
        return self.state.workers[worker_id]

    def GetPolicy(self, request: policy.GetPolicyRequest, context: Context) -> policy.GetPolicyResponse:
        self._begin("GetPolicy", context)
        return policy.GetPolicyResponse(policy=self.state.policy)

    def SetPolicyVersion(
        self, request: policy.SetPolicyVersionRequest, context: Context
    ) -> policy.SetPolicyVersionResponse:
        self._begin("SetPolicyVersion", context)
        self.state.policy.policy_version = request.policy_version
        self.state.policy.change_time.FromJsonString("2026-01-02T03:04:05.5Z")
        return policy.SetPolicyVersionResponse(policy=self.state.policy)

    def GetStatus(self, request: gateway.GetStatusRequest, context: Context) -> gateway.GetStatusResponse:
        self._begin("GetStatus", context)
        return gateway.GetStatusResponse(
            version="canned",
            epoch=EPOCH,
            earliest_sequence=1,
            head_sequence=self.state.head(),
            session_count=len(self.state.sessions),
            trace_count=len(self.state.traces),
            proxy_url="http://127.0.0.1:9090",
        )

    def Flush(self, request: gateway.FlushRequest, context: Context) -> gateway.FlushResponse:
        self._begin("Flush", context)
        return gateway.FlushResponse(epoch=EPOCH, head_sequence=self.state.head())

    def GetTrace(self, request: trace.GetTraceRequest, context: Context) -> trace.GetTraceResponse:
        self._begin("GetTrace", context)
        found = self.state.traces.get(request.trace_id)
        if found is None:
            resource = error_details_pb2.ResourceInfo(resource_name=request.trace_id)
            refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no trace {request.trace_id!r}", resource)
        return trace.GetTraceResponse(trace=self.state.view(found, request.view))

    def ListTraces(self, request: trace.ListTracesRequest, context: Context) -> trace.ListTracesResponse:
        self._begin("ListTraces", context)
        self._session(request.session_id, context)
        found = self.state.of_session(request.session_id)
        page, token = paged(found, request.page_size, request.page_token)
        views = [self.state.view(full, request.view) for full in page]
        return trace.ListTracesResponse(traces=views, next_page_token=token)

    def GetBlob(self, request: trace.GetBlobRequest, context: Context) -> Iterator[trace.GetBlobResponse]:
        self._begin("GetBlob", context)
        data = self.state.blobs.get(request.digest)
        if data is None or request.digest in self.state.gone:
            resource = error_details_pb2.ResourceInfo(resource_name=request.digest.hex())
            refuse(context, grpc.StatusCode.NOT_FOUND, "there is no such blob", resource)
        for start in range(0, len(data), 1000):
            yield trace.GetBlobResponse(data=data[start : start + 1000])

    def Subscribe(
        self, request: trace.SubscribeRequest, context: Context
    ) -> Iterator[trace.SubscribeResponse]:
        self.state.calls["Subscribe"] += 1
        at = self._start(request, context)
        header = trace.SubscribeHeader(epoch=EPOCH, earliest_sequence=1, head_sequence=self.state.head())
        header.cursor.CopyFrom(cursor(at))
        yield trace.SubscribeResponse(header=header)
        self.state.subscribed.set()
        while context.is_active() and not self.state.stopping:
            news = self.state.after(at)
            if not news:
                continue
            if self.state.cut():
                refuse(context, grpc.StatusCode.UNAVAILABLE, "cut")
            at = news[-1].sequence
            taken = [self._event(event, request.view) for event in news if takes(request.filter, event)]
            if taken:
                batch = trace.EventBatch(events=taken, cursor=cursor(at))
                yield trace.SubscribeResponse(batch=batch)
            else:
                yield trace.SubscribeResponse(progress=trace.Progress(cursor=cursor(at)))

    def _start(self, request: trace.SubscribeRequest, context: Context) -> int:
        head = self.state.head()
        if request.WhichOneof("start") == "position":
            return head if request.position == trace.START_POSITION_LATEST else 0
        if request.after.epoch not in ("", EPOCH):
            facts = {"epoch": EPOCH, "earliest_sequence": "1", "head_sequence": str(head)}
            info = error_details_pb2.ErrorInfo(reason="CURSOR_EPOCH", metadata=facts)
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "the log is another one", info)
        return request.after.sequence

    def _event(self, event: event_pb2.Event, view: int) -> event_pb2.Event:
        made = event_pb2.Event()
        made.CopyFrom(event)
        if event.HasField("trace"):
            made.trace.CopyFrom(self.state.view(event.trace, view))
        return made


def cursor(sequence: int) -> trace.Cursor:
    return trace.Cursor(epoch=EPOCH, sequence=sequence)


def takes(chosen: trace.EventFilter, event: event_pb2.Event) -> bool:
    sessions = chosen.session_ids
    return not sessions or not event.HasField("trace") or event.trace.session_id in sessions


def paged(found: list[M], size: int, token: str) -> tuple[list[M], str]:
    begin = int(token or 0)
    end = begin + (size or 100)
    return found[begin:end], str(end) if end < len(found) else ""


class Canned:
    """The server. It keeps its port over stop() and start(), and its state."""

    def __init__(self) -> None:
        self.state = State()
        self.port = 0
        self.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.state.stopping = False
        self._pool = ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool)
        service = Service(self.state)
        session_grpc.add_SessionServiceServicer_to_server(service, self._server)
        worker_grpc.add_WorkerServiceServicer_to_server(service, self._server)
        gateway_grpc.add_GatewayServiceServicer_to_server(service, self._server)
        policy_grpc.add_PolicyServiceServicer_to_server(service, self._server)
        trace_grpc.add_TraceServiceServicer_to_server(service, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self.state.stopping = True
        self._server.stop(None).wait()
        self._pool.shutdown()
