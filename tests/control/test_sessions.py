"""SessionService, as a caller of the stubs sees it."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace.v1 import session_pb2 as session_pb
from rolltrace.v1 import session_service_pb2 as pb
from rolltrace.v1.session_pb2 import Session, SessionLimits
from rolltrace_store import Store
from rolltrace_store.session_key import session_key
from tests.control.conftest import Control
from tests.control.details import failure
from tests.store import samples


def create(request_id: str = "", /, **fields: object) -> pb.CreateSessionRequest:
    return pb.CreateSessionRequest(session=Session(**fields), request_id=request_id)  # type: ignore[arg-type]


async def ids(control: Control, request: pb.ListSessionsRequest) -> list[str]:
    """The ids on all pages."""
    found: list[str] = []
    while True:
        page = await control.sessions.ListSessions(request)
        found += [session.session_id for session in page.sessions]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_session_comes_back_as_it_was_made(control: Control, store: Store) -> None:
    asked = Session(session_id="harbor/hello world:0", labels={"task": "gsm8k"}, group_id="g", group_size=8)
    asked.metadata.update({"note": "ü"})
    asked.sampling_params.update({"temperature": 1.0})
    made = (await control.sessions.CreateSession(pb.CreateSessionRequest(session=asked))).session
    assert made.state == session_pb.SESSION_STATE_OPEN
    assert made.create_time.seconds > 0
    assert made.base_url == "http://127.0.0.1:1/sessions/harbor/hello%20world:0/v1"
    got = await control.sessions.GetSession(pb.GetSessionRequest(session_id=asked.session_id))
    assert got.session == made
    secret = await store.read(lambda view: view.secret())
    assert made.api_key == session_key(secret, asked.session_id)
    for name in ("state", "create_time", "base_url", "api_key"):
        made.ClearField(name)
    assert made == asked


async def test_an_id_is_made_when_none_is_given(control: Control) -> None:
    first = await control.sessions.CreateSession(create())
    second = await control.sessions.CreateSession(create())
    assert len(first.session.session_id) == 32
    assert first.session.session_id != second.session.session_id


async def test_a_session_that_came_by_a_call_exists_already(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace("s"))
    failed = await failure(control.sessions.CreateSession(create(session_id="s")))
    assert failed.code == grpc.StatusCode.ALREADY_EXISTS
    assert failed.detail(rpc.ResourceInfo).resource_name == "s"
    assert failed.detail(rpc.ResourceInfo).resource_type == "rolltrace.v1.Session"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"session_id": "/s"}, "session.session_id"),
        ({"session_id": "x" * 401}, "session.session_id"),
        ({"state": session_pb.SESSION_STATE_OPEN}, "session.state"),
        ({"digest": "d"}, "session.digest"),
        ({"base_url": "http://x"}, "session.base_url"),
        ({"outcome": session_pb.Outcome()}, "session.outcome"),
        ({"api_key": "k"}, "session.api_key"),
        ({"incomplete_reasons": [session_pb.IncompleteReason()]}, "session.incomplete_reasons"),
        ({"late_call_count": 1}, "session.late_call_count"),
        ({"in_flight_call_count": 1}, "session.in_flight_call_count"),
        ({"sampling_params": {"top_p": float("nan")}}, "session.sampling_params"),
        ({"limits": SessionLimits(max_time=Duration(seconds=-1))}, "session.limits.max_time"),
    ],
)
async def test_a_bad_session_names_its_field(control: Control, fields: dict[str, object], field: str) -> None:
    failed = await failure(control.sessions.CreateSession(create(**fields)))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_limits_are_kept_as_given(control: Control) -> None:
    limits = SessionLimits(max_calls=0, max_time=Duration(seconds=90))
    await control.sessions.CreateSession(create(session_id="s", limits=limits))
    got = (await control.sessions.GetSession(pb.GetSessionRequest(session_id="s"))).session
    assert got.limits == limits
    assert not got.limits.HasField("max_tokens")


async def test_the_same_request_gets_the_same_answer(control: Control) -> None:
    first = await control.sessions.CreateSession(create("r", labels={"a": "1", "b": "2"}))
    again = await control.sessions.CreateSession(create("r", labels={"b": "2", "a": "1"}))
    assert again == first
    assert await ids(control, pb.ListSessionsRequest()) == [first.session.session_id]


async def test_another_request_of_the_same_id_is_refused(control: Control) -> None:
    await control.sessions.CreateSession(create("r", session_id="a"))
    failed = await failure(control.sessions.CreateSession(create("r", session_id="b")))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "request_id")
    failed = await failure(control.sessions.CreateSession(create("x" * 129, session_id="b")))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "request_id")


async def test_a_batch_is_made_in_its_order(control: Control) -> None:
    sessions = [Session(session_id="b"), Session(), Session(session_id="a")]
    request = pb.BatchCreateSessionsRequest(sessions=sessions, request_id="r")
    made = await control.sessions.BatchCreateSessions(request)
    assert [session.session_id for session in made.sessions][::2] == ["b", "a"]
    assert all(session.base_url for session in made.sessions)
    assert await control.sessions.BatchCreateSessions(request) == made


async def test_a_batch_is_made_whole_or_not_at_all(control: Control) -> None:
    await control.sessions.CreateSession(create(session_id="old"))
    sessions = [Session(session_id="new"), Session(session_id="old")]
    failed = await failure(
        control.sessions.BatchCreateSessions(pb.BatchCreateSessionsRequest(sessions=sessions))
    )
    assert failed.code == grpc.StatusCode.ALREADY_EXISTS
    assert await ids(control, pb.ListSessionsRequest()) == ["old"]


async def test_a_bad_batch_names_the_entry(control: Control) -> None:
    twice = [Session(session_id="a"), Session(session_id="a")]
    failed = await failure(
        control.sessions.BatchCreateSessions(pb.BatchCreateSessionsRequest(sessions=twice))
    )
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "sessions[1].session_id")
    many = pb.BatchCreateSessionsRequest(sessions=[Session()] * 10_001)
    failed = await failure(control.sessions.BatchCreateSessions(many))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "sessions")


async def test_a_session_that_is_not_there(control: Control) -> None:
    for call in (
        control.sessions.GetSession(pb.GetSessionRequest(session_id="s")),
        control.sessions.DeleteSession(pb.DeleteSessionRequest(session_id="s")),
    ):
        failed = await failure(call)
        assert failed.code == grpc.StatusCode.NOT_FOUND
        assert failed.detail(rpc.ResourceInfo).resource_name == "s"
    failed = await failure(control.sessions.GetSession(pb.GetSessionRequest()))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "session_id")


async def test_lists_in_the_order_of_bytes_page_by_page(control: Control) -> None:
    names = ["a", "a/1", "a/2", "b", "ü", "Z", "a0"]
    for name in names:
        await control.sessions.CreateSession(create(session_id=name))
    in_order = sorted(names, key=str.encode)
    assert await ids(control, pb.ListSessionsRequest()) == in_order
    assert await ids(control, pb.ListSessionsRequest(page_size=2)) == in_order
    a = pb.SessionFilter(session_id_prefix="a")
    assert await ids(control, pb.ListSessionsRequest(filter=a, page_size=1)) == ["a", "a/1", "a/2", "a0"]


async def test_lists_what_the_filter_takes(control: Control) -> None:
    await control.sessions.CreateSession(create(session_id="1", group_id="g", labels={"x": "1", "y": "2"}))
    await control.sessions.CreateSession(create(session_id="2", group_id="g", labels={"x": "2"}))
    await control.sessions.CreateSession(create(session_id="3", labels={"x": "1"}))

    async def listed(**conditions: object) -> list[str]:
        wanted = pb.SessionFilter(**conditions)  # type: ignore[arg-type]
        return await ids(control, pb.ListSessionsRequest(filter=wanted))

    assert await listed(group_id="g") == ["1", "2"]
    assert await listed(labels={"x": "1"}) == ["1", "3"]
    assert await listed(labels={"x": "1"}, group_id="g") == ["1"]
    assert await listed(state=session_pb.SESSION_STATE_SEALED) == []
    assert await listed(state=session_pb.SESSION_STATE_OPEN) == ["1", "2", "3"]
    assert await listed(session_id_prefix="2") == ["2"]


async def test_a_page_token_fits_its_list_only(control: Control) -> None:
    for name in "abc":
        await control.sessions.CreateSession(create(session_id=name))
    token = (await control.sessions.ListSessions(pb.ListSessionsRequest(page_size=1))).next_page_token
    other = pb.SessionFilter(session_id_prefix="b")
    for request in (
        pb.ListSessionsRequest(page_token="garbage"),
        pb.ListSessionsRequest(page_token="ü"),
        pb.ListSessionsRequest(page_token=token[:-4]),
        pb.ListSessionsRequest(page_token=token.swapcase()),
        pb.ListSessionsRequest(page_token=token, filter=other),
    ):
        failed = await failure(control.sessions.ListSessions(request))
        assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")
    failed = await failure(control.sessions.ListSessions(pb.ListSessionsRequest(page_size=-1)))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_size")


async def test_a_page_is_no_larger_than_a_thousand(control: Control) -> None:
    sessions = [Session(session_id=f"{number:04}") for number in range(1005)]
    await control.sessions.BatchCreateSessions(pb.BatchCreateSessionsRequest(sessions=sessions))
    assert len((await control.sessions.ListSessions(pb.ListSessionsRequest())).sessions) == 100
    assert len((await control.sessions.ListSessions(pb.ListSessionsRequest(page_size=5000))).sessions) == 1000
    assert len(await ids(control, pb.ListSessionsRequest(page_size=1000))) == 1005


async def test_deleting_takes_the_traces_too_and_once_only(control: Control, store: Store) -> None:
    for trace in samples.conversation("s", 3):
        await store.append_trace(trace)
    request = pb.DeleteSessionRequest(session_id="s", request_id="r")
    assert (await control.sessions.DeleteSession(request)).deleted_trace_count == 3
    await control.sessions.CreateSession(create(session_id="s"))
    assert (await control.sessions.DeleteSession(request)).deleted_trace_count == 3
    assert await ids(control, pb.ListSessionsRequest()) == ["s"]


async def test_a_batch_of_deletes_reports_what_was_not_there(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace("a"))
    await store.append_trace(samples.trace("b"))
    request = pb.BatchDeleteSessionsRequest(session_ids=["a", "x", "a", "b", "/bad", "y" * 500])
    response = await control.sessions.BatchDeleteSessions(request)
    assert list(response.deleted_session_ids) == ["a", "b"]
    assert list(response.missing_session_ids) == ["x", "/bad", "y" * 500]
    assert response.deleted_trace_count == 2
    many = pb.BatchDeleteSessionsRequest(session_ids=["a"] * 10_001)
    failed = await failure(control.sessions.BatchDeleteSessions(many))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "session_ids")


async def test_counts_are_those_of_the_traces(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace("s"))
    await store.append_trace(samples.trace("s"))
    got = (await control.sessions.GetSession(pb.GetSessionRequest(session_id="s"))).session
    assert (got.call_count, got.failed_call_count, got.incomplete) == (2, 0, False)


def update(*paths: str, allow_missing: bool = False, **metadata: int) -> pb.UpdateSessionRequest:
    request = pb.UpdateSessionRequest(session=Session(session_id="s"), allow_missing=allow_missing)
    request.session.metadata.update(metadata)
    request.update_mask.paths.extend(paths)
    return request


async def test_a_session_is_changed_as_the_mask_says(control: Control) -> None:
    asked = Session(session_id="s")
    asked.metadata.update({"old": 1})
    asked.sampling_params.update({"temperature": 1})
    made = (await control.sessions.CreateSession(pb.CreateSessionRequest(session=asked))).session
    changed = (await control.sessions.UpdateSession(update("metadata", new=2))).session
    assert dict(changed.metadata) == {"new": 2}
    assert (changed.sampling_params, changed.api_key) == (made.sampling_params, made.api_key)
    changed = (await control.sessions.UpdateSession(update("sampling_params", new=3))).session
    assert (dict(changed.metadata), len(changed.sampling_params.fields)) == ({"new": 2}, 0)
    assert (await control.sessions.GetSession(pb.GetSessionRequest(session_id="s"))).session == changed


async def test_a_session_that_is_missing_is_made_when_that_is_allowed(control: Control) -> None:
    assert (
        await failure(control.sessions.UpdateSession(update("metadata")))
    ).code == grpc.StatusCode.NOT_FOUND
    for _ in range(2):
        made = await control.sessions.UpdateSession(update(allow_missing=True, a=1))
        assert dict(made.session.metadata) == {"a": 1}
    kept = await control.sessions.UpdateSession(update(allow_missing=True, a=2))
    assert dict(kept.session.metadata) == {"a": 1}
    await control.sessions.DeleteSession(pb.DeleteSessionRequest(session_id="s"))
    assert dict((await control.sessions.UpdateSession(update(allow_missing=True))).session.metadata) == {}


@pytest.mark.parametrize("paths", [(), ("state",), ("labels",), ("metadata.a",), ("metadata", "call_count")])
async def test_what_cannot_change_is_an_error(control: Control, paths: tuple[str, ...]) -> None:
    await control.sessions.CreateSession(create(session_id="s"))
    failed = await failure(control.sessions.UpdateSession(update(*paths)))
    assert failed.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_sealed_session_does_not_change(control: Control) -> None:
    await control.sessions.CreateSession(create(session_id="s"))
    await control.sessions.SealSession(pb.SealSessionRequest(session_id="s"))
    failed = await failure(control.sessions.UpdateSession(update("metadata", allow_missing=True, a=1)))
    assert failed.code == grpc.StatusCode.FAILED_PRECONDITION
    assert await control.sessions.UpdateSession(update(allow_missing=True))
