"""SessionService. A shell: validation, filters and paging decide, the store's views do."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rolltrace.v1 import session_service_pb2 as pb
from rolltrace.v1 import session_service_pb2_grpc as services
from rolltrace.v1.session_pb2 import SESSION_STATE_SEALING, Session
from rolltrace_control import filters, paging, seal_rules, validation
from rolltrace_control.addresses import base_url
from rolltrace_control.interceptor import Context
from rolltrace_control.known import known_session
from rolltrace_control.requests import identify, once
from rolltrace_control.sealer import Sealer, is_busy
from rolltrace_store.interface import ReadView, Store, WriteView
from rolltrace_store.names import check_session_id
from rolltrace_store.session_key import session_key

MAX_SCANNED = 10_000


@dataclass(frozen=True, slots=True)
class _Page:
    sessions: list[Session]
    last: str
    """The last id that was looked at; "" when there are no more."""


class SessionServicer(services.SessionServiceServicer):
    """Sessions as trainers see them."""

    def __init__(self, store: Store, sealer: Sealer, proxy_url: str, secret: bytes) -> None:
        self._store = store
        self._sealer = sealer
        self._proxy_url = proxy_url
        self._secret = secret

    def _shown(self, session: Session) -> Session:
        """Not within a transaction: what is remembered of an answer holds no key."""
        session.base_url = base_url(self._proxy_url, session.session_id)
        session.api_key = session_key(self._secret, session.session_id)
        return session

    def _create(self, view: WriteView, asked: Session) -> Session:
        session = Session()
        session.CopyFrom(asked)
        session.session_id = asked.session_id or secrets.token_hex(16)
        return view.create_session(session)

    async def CreateSession(
        self, request: pb.CreateSessionRequest, context: object
    ) -> pb.CreateSessionResponse:
        validation.check_new_session(request.session)

        def work(view: WriteView) -> pb.CreateSessionResponse:
            return pb.CreateSessionResponse(session=self._create(view, request.session))

        key = identify("CreateSession", request)
        response = await once(self._store, key, pb.CreateSessionResponse, work)
        self._shown(response.session)
        return response

    async def BatchCreateSessions(
        self, request: pb.BatchCreateSessionsRequest, context: object
    ) -> pb.BatchCreateSessionsResponse:
        validation.check_new_sessions(request.sessions)

        def work(view: WriteView) -> pb.BatchCreateSessionsResponse:
            sessions = [self._create(view, session) for session in request.sessions]
            return pb.BatchCreateSessionsResponse(sessions=sessions)

        key = identify("BatchCreateSessions", request)
        response = await once(self._store, key, pb.BatchCreateSessionsResponse, work)
        for session in response.sessions:
            self._shown(session)
        return response

    async def UpdateSession(
        self, request: pb.UpdateSessionRequest, context: object
    ) -> pb.UpdateSessionResponse:
        validation.check_session_update(request)

        def work(view: WriteView) -> pb.UpdateSessionResponse:
            return pb.UpdateSessionResponse(session=self._update(view, request))

        key = identify("UpdateSession", request)
        response = await once(self._store, key, pb.UpdateSessionResponse, work)
        self._shown(response.session)
        return response

    def _update(self, view: WriteView, request: pb.UpdateSessionRequest) -> Session:
        session_id = request.session.session_id
        if request.allow_missing and view.session(session_id) is None:
            return self._create(view, request.session)
        session = known_session(view, session_id)
        if not request.update_mask.paths:
            return session
        request.update_mask.MergeMessage(request.session, session, replace_message_field=True)
        return view.update_session(session)

    async def GetSession(self, request: pb.GetSessionRequest, context: object) -> pb.GetSessionResponse:
        check_session_id(request.session_id)
        session = await self._store.read(lambda view: known_session(view, request.session_id))
        return pb.GetSessionResponse(session=self._shown(session))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: object) -> pb.ListSessionsResponse:
        filters.check_session_filter(request.filter)
        size, scope = paging.page_size(request.page_size), paging.scope_of(request.filter)
        after = paging.place_of("ListSessions", scope, request.page_token)
        page = await self._store.read(lambda view: _page(view, request.filter, after, size))
        token = paging.next_token("ListSessions", scope, page.last) if page.last else ""
        return pb.ListSessionsResponse(
            sessions=[self._shown(session) for session in page.sessions], next_page_token=token
        )

    async def SealSession(self, request: pb.SealSessionRequest, context: Context) -> pb.SealSessionResponse:
        """A session without calls that run is sealed by the transaction that begins it; the sealer does the
        others, and what they are answered is their state then, not what is remembered of the request."""
        seal_rules.check_seal(request)
        patience = seal_rules.patience(context.time_remaining())

        def work(view: WriteView) -> pb.SealSessionResponse:
            return pb.SealSessionResponse(session=_begin_seal(view, request))

        key = identify("SealSession", request)
        response = await once(self._store, key, pb.SealSessionResponse, work)
        if response.session.state == SESSION_STATE_SEALING:
            sealed = await self._sealer.wait(request.session_id, patience)
            response = pb.SealSessionResponse(session=sealed)
        self._shown(response.session)
        return response

    async def DeleteSession(
        self, request: pb.DeleteSessionRequest, context: object
    ) -> pb.DeleteSessionResponse:
        check_session_id(request.session_id)

        def work(view: WriteView) -> pb.DeleteSessionResponse:
            return pb.DeleteSessionResponse(deleted_trace_count=view.delete_session(request.session_id))

        return await once(self._store, identify("DeleteSession", request), pb.DeleteSessionResponse, work)

    async def BatchDeleteSessions(
        self, request: pb.BatchDeleteSessionsRequest, context: object
    ) -> pb.BatchDeleteSessionsResponse:
        validation.check_batch("session_ids", len(request.session_ids))

        def work(view: WriteView) -> pb.BatchDeleteSessionsResponse:
            return _delete_all(view, request.session_ids)

        key = identify("BatchDeleteSessions", request)
        return await once(self._store, key, pb.BatchDeleteSessionsResponse, work)


def _begin_seal(view: WriteView, request: pb.SealSessionRequest) -> Session:
    known_session(view, request.session_id)
    session = view.begin_seal(
        request.session_id,
        request.outcome if request.HasField("outcome") else None,
        cancel=request.in_flight == pb.IN_FLIGHT_CALLS_CANCEL,
        deadline=time.time_ns() + seal_rules.timeout_of(request),
    )
    if session.state == SESSION_STATE_SEALING and not is_busy(view, request.session_id):
        return view.finish_seal(request.session_id)
    return session


def _delete_all(view: WriteView, session_ids: Iterable[str]) -> pb.BatchDeleteSessionsResponse:
    response = pb.BatchDeleteSessionsResponse()
    for session_id in dict.fromkeys(session_ids):
        if validation.names_a_session(session_id) and view.session(session_id) is not None:
            response.deleted_trace_count += view.delete_session(session_id)
            response.deleted_session_ids.append(session_id)
        else:
            response.missing_session_ids.append(session_id)
    return response


def _page(view: ReadView, wanted: pb.SessionFilter, after: str, size: int) -> _Page:
    page, page_bytes, last = list[Session](), 0, ""
    for scanned, session in enumerate(_candidates(view, wanted.session_id_prefix, after)):
        if scanned == MAX_SCANNED or len(page) == size or page_bytes > paging.MAX_BYTES:
            return _Page(page, last)
        if filters.takes_session(wanted, session):
            page.append(session)
            page_bytes += session.ByteSize()
        last = session.session_id
    return _Page(page, "")


def _candidates(view: ReadView, prefix: str, after: str) -> Iterator[Session]:
    """Sessions whose ids begin with `prefix` and come after `after`."""
    if not after and prefix:
        first = view.session(prefix)
        if first is not None:
            yield first
    rest = view.sessions(after or prefix)
    yield from itertools.takewhile(lambda session: session.session_id.startswith(prefix), rest)
