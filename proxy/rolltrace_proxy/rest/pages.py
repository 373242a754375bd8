"""The answers to REST calls. A shell: routes, forms and trace_record decide, control does.

Traces are read a page at a time and sent on as they are written, so that a session of any size takes no more
memory than a page. When that breaks off in the middle, the connection does too: no array ends before its end.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from operator import itemgetter

from rolltrace.v1 import gateway_service_pb2, policy_service_pb2, trace_service_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_service_pb2 import (
    BatchDeleteSessionsRequest,
    CreateSessionRequest,
    DeleteSessionRequest,
    GetSessionRequest,
)
from rolltrace.v1.worker_service_pb2 import DeregisterWorkerRequest, RegisterWorkerRequest
from rolltrace_proxy.dialects.interface import NotTranslatableError
from rolltrace_proxy.dialects.known import dialect_of
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.health import worker_info
from rolltrace_proxy.http1.interface import BodyBrokenError, BodyTooLargeError, Request
from rolltrace_proxy.raw_json import write
from rolltrace_proxy.rest import forms, routes
from rolltrace_proxy.rest.control import Control, RpcError, is_unknown
from rolltrace_proxy.rest.errors import RestError, bad
from rolltrace_proxy.rest.routes import Page, Route
from rolltrace_proxy.rest.trace_record import TraceRecords, end_time
from rolltrace_proxy.shared import Shared
from rolltrace_proxy.translate import translation
from rolltrace_store.errors import StoreError

JSON = (("Content-Type", "application/json"),)
MAX_BATCH = 10_000
"""Sessions that control deletes at once."""
GROUP = 200
"""Sessions that are sent at once."""
PIECE = 128 << 10
"""Bytes of an array that are sent at once, or more."""

Answer = bytes | AsyncIterator[bytes]
"""A whole body, or the members of an array."""
Ask = Callable[[Route, forms.Members], Awaitable[Answer]]

log = logging.getLogger(__name__)


class Pages:
    """`reload` reads what can be read again, and says why it could not."""

    def __init__(self, shared: Shared, reload: Callable[[], str]) -> None:
        self._shared = shared
        self._reload = reload
        self._control = Control(shared.store.folder)
        self._pages: dict[Page, Ask] = {
            Page.CREATE_SESSION: self._create_session,
            Page.LIST_SESSIONS: self._list_sessions,
            Page.DELETE_SESSIONS: self._delete_sessions,
            Page.GET_SESSION: self._get_session,
            Page.DELETE_SESSION: self._delete_session,
            Page.SESSION_TRACES: self._session_traces,
            Page.GET_TRACE: self._get_trace,
            Page.QUERY_TRACES: self._query_traces,
            Page.ADD_WORKER: self._add_worker,
            Page.LIST_WORKERS: self._list_workers,
            Page.REMOVE_WORKER: self._remove_worker,
            Page.FLUSH: self._flush,
            Page.RELOAD: self._read_again,
            Page.GET_WEIGHT_VERSION: self._get_version,
            Page.SET_WEIGHT_VERSION: self._set_version,
        }

    async def close(self) -> None:
        await self._control.close()

    async def answer(self, route: Route, request: Request) -> None:
        """Raises ConnectionResetError when the caller has gone."""
        try:
            given = forms.members(await self._body(request) if request.method == "POST" else b"")
            answer = await self._pages[route.page](route, given)
            if isinstance(answer, bytes):
                await request.reply(200, "", JSON, answer)
            else:
                await _send(request, answer)
        except RpcError as error:
            await refuse(request, self._control.error(error))
        except RestError as error:
            await refuse(request, error)

    async def _body(self, request: Request) -> bytes:
        most = self._shared.settings.max_body_size
        try:
            return await request.body(most)
        except BodyTooLargeError:
            raise RestError(413, f"the body has more than {most} bytes (--max-body-size)") from None
        except BodyBrokenError as error:
            raise bad(f"the body cannot be read: {error}") from None

    # Sessions.

    async def _create_session(self, route: Route, given: forms.Members) -> Answer:
        asked = forms.update_of(given)
        if asked.session.session_id:
            session = (await self._control.sessions.UpdateSession(asked)).session
        else:
            request = CreateSessionRequest(session=asked.session)
            session = (await self._control.sessions.CreateSession(request)).session
        return write(forms.created(session, with_key=self._shared.settings.auth == "token"))

    async def _get_session(self, route: Route, given: forms.Members) -> Answer:
        request = GetSessionRequest(session_id=route.name)
        with _naming("Session", route.name):
            return write(forms.session_info((await self._control.sessions.GetSession(request)).session))

    async def _list_sessions(self, route: Route, given: forms.Members) -> Answer:
        """The latest first."""
        since, limit = routes.since(route), routes.limit(route)
        found: list[tuple[float, bytes]] = []
        async for session in self._control.all_sessions():
            created = forms.created_at(session)
            if since is None or created >= since:
                found.append((created, write(forms.session_info(session))))
        latest = heapq.nlargest(len(found) if limit is None else limit, found, key=itemgetter(0))
        return _grouped([row for _, row in latest])

    async def _delete_session(self, route: Route, given: forms.Members) -> Answer:
        request = DeleteSessionRequest(session_id=route.name)
        try:
            deleted = (await self._control.sessions.DeleteSession(request)).deleted_trace_count
        except RpcError as error:
            if not is_unknown(error):
                raise
            deleted = 0
        return write({"deleted": deleted})

    async def _delete_sessions(self, route: Route, given: forms.Members) -> Answer:
        wanted, deleted = forms.names(given, "session_ids"), 0
        for start in range(0, len(wanted), MAX_BATCH):
            request = BatchDeleteSessionsRequest(session_ids=wanted[start : start + MAX_BATCH])
            deleted += (await self._control.sessions.BatchDeleteSessions(request)).deleted_trace_count
        return write({"deleted": deleted})

    # Traces.

    async def _session_traces(self, route: Route, given: forms.Members) -> Answer:
        return self._records([route.name], routes.since(route), routes.limit(route))

    async def _query_traces(self, route: Route, given: forms.Members) -> Answer:
        since, limit = forms.number(given, "since"), forms.count(given, "limit")
        return self._records(forms.names(given, "session_ids"), since, limit)

    async def _get_trace(self, route: Route, given: forms.Members) -> Answer:
        request = trace_service_pb2.GetTraceRequest(trace_id=route.name, view=pb.TRACE_VIEW_FULL)
        with _naming("Trace", route.name):
            trace = (await self._control.traces.GetTrace(request)).trace
        return TraceRecords().write(trace, await self._as_chat(trace))

    async def _records(
        self, session_ids: Iterable[str], since: float | None, limit: int | None
    ) -> AsyncIterator[bytes]:
        """Records as the members of an array; `limit` is for each session."""
        for session_id in session_ids:
            left, records = limit, TraceRecords()
            async for trace in self._control.all_traces(session_id, limit if since is None else None):
                if left == 0:
                    break
                if since is None or end_time(trace) >= since:
                    yield records.write(trace, await self._as_chat(trace))
                    left = None if left is None else left - 1

    async def _as_chat(self, trace: pb.Trace) -> bytes:
        """The request of another API as a chat completion; nothing where it is one, or can't be made one."""
        dialect = dialect_of(trace.endpoint)
        if dialect is None:
            return b""
        store, names = self._shared.store, (trace.trace_id, trace.session_id)
        try:
            return (await translation(dialect, trace.request_json, *names, store)).body
        except (NotTranslatableError, Refused, StoreError):
            return b""

    # Workers.

    async def _add_worker(self, route: Route, given: forms.Members) -> Answer:
        request = RegisterWorkerRequest(worker=forms.worker_of(given))
        worker = (await self._control.workers.RegisterWorker(request)).worker
        return write({"worker_id": worker.worker_id, "url": worker.url, "api_path": worker.api_path})

    async def _list_workers(self, route: Route, given: forms.Members) -> Answer:
        workers = self._shared.workers
        return write([worker_info(row, workers) for row in await self._control.all_workers()])

    async def _remove_worker(self, route: Route, given: forms.Members) -> Answer:
        with _naming("Worker", route.name):
            await self._control.workers.DeregisterWorker(DeregisterWorkerRequest(worker_id=route.name))
        return write({"removed": route.name})

    # The rest.

    async def _flush(self, route: Route, given: forms.Members) -> Answer:
        log = await self._control.gateway.Flush(gateway_service_pb2.FlushRequest())
        return write({"status": "flushed", "head_sequence": log.head_sequence})

    async def _read_again(self, route: Route, given: forms.Members) -> Answer:
        why_not = self._reload()
        if why_not:
            raise RestError(500, f"not reloaded, what was in use stays: {why_not}")
        return write({"status": "ok", "reloaded": ["admin tokens", "certificate"]})

    async def _get_version(self, route: Route, given: forms.Members) -> Answer:
        policy = (await self._control.policy.GetPolicy(policy_service_pb2.GetPolicyRequest())).policy
        return write(forms.version_info(policy.policy_version))

    async def _set_version(self, route: Route, given: forms.Members) -> Answer:
        request = policy_service_pb2.SetPolicyVersionRequest(policy_version=forms.version_of(given))
        policy = (await self._control.policy.SetPolicyVersion(request)).policy
        return write(forms.version_info(policy.policy_version))


async def refuse(request: Request, error: RestError) -> None:
    """Answers with an error in the shape of these paths."""
    soon = (("Retry-After", "1"),) if error.status == 503 else ()
    await request.reply(error.status, "", (*JSON, *soon), write({"error": error.message}))


async def _send(request: Request, members: AsyncIterator[bytes]) -> None:
    """Sends an array. What fails before its first piece is raised."""
    pieces = _joined(members)
    first = await anext(pieces)
    await request.begin(200, "", JSON)
    await request.write(first)
    try:
        async for piece in pieces:
            await request.write(piece)
    except RpcError as error:
        log.warning("a list of traces is broken off: %s", error.details())
        request.break_off()
    else:
        await request.end()


async def _grouped(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Some members at a time, since each has its turn of the loop."""
    for start in range(0, len(rows), GROUP):
        yield b",".join(rows[start : start + GROUP])


async def _joined(members: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes of an array, in pieces. Between two, other calls may go on."""
    piece = bytearray(b"[")
    is_first = True
    async for member in members:
        if not is_first:
            piece += b","
        is_first = False
        piece += member
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
        await asyncio.sleep(0)
    yield bytes(piece + b"]")


@contextmanager
def _naming(kind: str, name: str) -> Generator[None, None, None]:
    """For an RPC about one thing: that it is not there is a 404."""
    try:
        yield
    except RpcError as error:
        if is_unknown(error):
            raise RestError(404, f"{kind} {name} not found") from None
        raise
