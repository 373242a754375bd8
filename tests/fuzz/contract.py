"""Targets: what trainers and operators send, and what the client reads. Names, tokens, cursors, details."""

from __future__ import annotations

from contextlib import suppress

from google.protobuf.message import DecodeError

from rolltrace.v1 import trace_service_pb2, worker_pb2
from rolltrace_client import details
from rolltrace_client.cursor import Cursor
from rolltrace_control import cursors, paging
from rolltrace_control.filters import EventMatcher
from rolltrace_control.worker_fields import asked_worker
from rolltrace_store import names, worker_url
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.interface import LogState, Record
from tests.fuzz.feed import Feed


def page_token(data: bytes) -> None:
    """A token leads to the place that it was made for, in its own list; any other is refused."""
    feed = Feed(data)
    scope, other, place, made_up = feed.chunk(), feed.chunk(), feed.chunk(), feed.rest()
    where = place.decode(errors="replace")
    token = paging.next_token("List", scope, where)
    assert paging.place_of("List", scope, token) == where
    for rpc, bound, given in (
        ("Other", scope, token),
        ("List", scope + b"x" + other, token),
        ("List", scope, token[:-1]),
        ("List", scope, made_up.decode(errors="replace")),
    ):
        try:
            found = paging.place_of(rpc, bound, given)
        except InvalidArgumentError:
            continue
        assert given in ("", token)
        assert found in ("", where)


def cursor(data: bytes) -> None:
    """A cursor's text reads back as the cursor; a stream starts within the log or not at all."""
    text = data.decode(errors="replace")
    with suppress(ValueError):
        assert str(Cursor.parse(text)) == text
    feed = Feed(data)
    head = feed.number(2)
    earliest = 1 + feed.number(2) % (head + 1)
    log = LogState(feed.choice(("e", "f")), earliest, head, feed.number() % earliest)
    try:
        request = trace_service_pb2.SubscribeRequest.FromString(feed.rest())
    except DecodeError:
        return
    with suppress(cursors.CursorError, InvalidArgumentError):
        start = cursors.start_of(request, log)
        assert log.compacted <= start <= log.head
        cursors.header(log, start)
    with suppress(InvalidArgumentError):
        matcher = EventMatcher(request.filter)
        for kind in range(6):
            matcher.takes(Record(1, kind, b""))  # type: ignore[arg-type]


def error_details(data: bytes) -> None:
    """A broken trailer never hides the error that it belongs to."""
    details.read(data)


def names_of_things(data: bytes) -> None:
    """A name is allowed, or refused with its field; a worker's URL keeps its host when taken apart."""
    text = data.decode("utf-8", "surrogateescape")
    for check in (
        names.check_session_id,
        names.check_worker_id,
        names.check_request_id,
        names.check_trace_id,
    ):
        with suppress(InvalidArgumentError):
            check(text)
    with suppress(InvalidArgumentError):
        url, path = worker_url.take_apart(text)
        assert worker_url.worker_id_of(url) == worker_url.worker_id_of(text.strip())
        assert url + path == text.strip().rstrip("/")
    with suppress(DecodeError, InvalidArgumentError):
        worker = asked_worker(worker_pb2.Worker.FromString(data))
        assert worker.worker_id
        assert worker.weight > 0
