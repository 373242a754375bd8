"""Whether the sessions that are there are complete, asked of the control service as a trainer would."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
from tests import completeness
from tests.promises import Broken

from bench.soak.notes import Notes
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2 import GetSessionRequest, ListSessionsRequest
from rolltrace.v1.session_service_pb2_grpc import SessionServiceStub
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.trace_service_pb2 import ListTracesRequest
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub

OPTIONS = (("grpc.max_receive_message_length", 64 << 20),)


class Sessions:
    """The control service, for what is checked. Errors of gRPC are the caller's."""

    def __init__(self, target: str, notes: Notes) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self._sessions = SessionServiceStub(self._channel)
        self._traces = TraceServiceStub(self._channel)
        self._notes = notes

    async def close(self) -> None:
        await self._channel.close()

    async def names(self) -> set[str]:
        """The ids of all sessions that there are."""
        found, request = set[str](), ListSessionsRequest(page_size=1000)
        while True:
            page = await self._sessions.ListSessions(request, timeout=30, wait_for_ready=True)
            found |= {session.session_id for session in page.sessions}
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def check(self, session_id: str) -> None:
        """Notes what is broken. The session is read again when it changed while its traces were read."""
        notes = self._notes.session(session_id)
        try:
            before = await self._session(session_id)
            traces = [trace async for trace in self._all_traces(session_id)]
            if await self._session(session_id) != before:
                return await self.check(session_id)
            completeness.check(before, traces, ended=notes.ended, sent=notes.sent)
        except Broken as error:
            self._notes.broken.append(f"{session_id}: {error}")
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:  # retention was faster
                self._notes.counts[f"a check met {error.code().name}"] += 1
            return None
        self._notes.counts["sessions checked"] += 1
        return None

    async def _session(self, session_id: str) -> Session:
        request = GetSessionRequest(session_id=session_id)
        return (await self._sessions.GetSession(request, timeout=30, wait_for_ready=True)).session

    async def _all_traces(self, session_id: str) -> AsyncIterator[Trace]:
        request = ListTracesRequest(session_id=session_id)
        while True:
            page = await self._traces.ListTraces(request, timeout=30, wait_for_ready=True)
            for trace in page.traces:
                yield trace
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
