"""The calls about traces; see call.py.

On the wire lists and subscriptions are COMPACT, which is a fraction of the bytes; bases.py expands them.
Blobs of bodies are fetched before a trace is handed out, so that one that was read needs nobody any more; the
arrays that it names are not. A single trace is asked for FULL, since its base would have to be fetched too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rolltrace.v1 import event_pb2, trace_pb2
from rolltrace.v1 import trace_service_pb2 as pb

from .arrays import shaped
from .call import Call, Gathered, Pages
from .compression import zstd
from .cursor import Cursor
from .errors import RolltraceError, UnreadableBody, invalid
from .events import EventKind, Position
from .traces import BlobArray, CallStatus, Trace, View

if TYPE_CHECKING:
    from .arrays import AnyArray

_SERVICE = "/rolltrace.v1.TraceService/"
DIGEST_SIZE = 32
SUBSCRIBE = _SERVICE + "Subscribe"

_ON_THE_WIRE = {View.FULL: trace_pb2.TRACE_VIEW_COMPACT, View.METADATA: trace_pb2.TRACE_VIEW_METADATA}
_ALONE = {View.FULL: trace_pb2.TRACE_VIEW_FULL, View.METADATA: trace_pb2.TRACE_VIEW_METADATA}


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A subscription as asked for; see resume.py for what becomes of it."""

    request: pb.SubscribeRequest
    reconnect_timeout: float | None


def get_trace(trace_id: str, *, view: View = View.FULL, timeout: float | None = None) -> Call[Trace]:
    """Reads a trace. Raises NotFound."""
    made = pb.GetTraceRequest(trace_id=trace_id, view=_ALONE[view])
    return Call(_SERVICE + "GetTrace", made.SerializeToString(), _got, timeout)


def get_base(trace_id: str) -> Call[trace_pb2.Trace]:
    """Reads a trace that others are written against."""
    made = pb.GetTraceRequest(
        trace_id=trace_id, view=trace_pb2.TRACE_VIEW_STANDALONE, accept_compressions=_compressions()
    )
    return Call(_SERVICE + "GetTrace", made.SerializeToString(), _got_base)


def get_blob(digest: bytes | str, *, timeout: float | None = None) -> Gathered[bytes]:
    """Reads a blob by its digest, 32 bytes or hexadecimal, and checks it. Raises NotFound."""
    name = _digest(digest)

    def read(messages: list[bytes]) -> bytes:
        data = b"".join([pb.GetBlobResponse.FromString(message).data for message in messages])
        if _sha256(data) != name:
            raise RolltraceError(
                f"blob {name.hex()} came with other bytes than its digest tells", "DATA_LOSS"
            )
        return data

    made = pb.GetBlobRequest(digest=name)
    return Gathered(_SERVICE + "GetBlob", made.SerializeToString(), read, timeout)


def get_array(array: BlobArray, *, timeout: float | None = None) -> Gathered[AnyArray]:
    """Reads an array that a trace names, as `completion.routed_experts`: a read-only numpy array of its dtype
    and shape, or its bytes without numpy. Raises NotFound, and UnreadableBody when its bytes are not one.
    """
    found = get_blob(array.blob.digest, timeout=timeout)

    def read(messages: list[bytes]) -> AnyArray:
        try:
            return shaped(found.read(messages), array.dtype, array.shape)
        except (ValueError, TypeError) as error:
            raise UnreadableBody(f"blob {array.blob.digest} is no array as it is named ({error})") from error

    return Gathered(found.path, found.body, read, timeout)


def list_traces(
    session_id: str, *, view: View = View.FULL, page_size: int = 0, timeout: float | None = None
) -> Pages[trace_pb2.Trace]:
    """Iterates over the traces of a session in the order of its calls, page after page as needed.

    View.METADATA leaves out token ids, log-probabilities and bodies. `timeout` is for each page.
    Raises NotFound.
    """

    def page(token: str) -> Call[tuple[list[trace_pb2.Trace], str]]:
        made = pb.ListTracesRequest(
            session_id=session_id,
            view=_ON_THE_WIRE[view],
            accept_compressions=_compressions(),
            page_size=page_size,
            page_token=token,
        )
        return Call(_SERVICE + "ListTraces", made.SerializeToString(), _listed, timeout)

    return Pages(page)


def subscribe(
    after: Cursor | str | None = None,
    *,
    position: Position = Position.EARLIEST,
    kinds: Iterable[EventKind] = (),
    session_ids: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    statuses: Iterable[CallStatus] = (),
    view: View = View.FULL,
    reconnect_timeout: float | None = None,
) -> Subscribe:
    """Iterates over the log of events from a place onwards, and then live, without end.

    It starts after the cursor `after` or, without one, at `position`. A lost stream is opened again and goes
    on where it stood: no event is lost, none comes twice. Keep `str(subscription.cursor)` to go on after a
    restart of your own. Conditions are joined by "and"; empty ones take all. `labels` and `statuses` choose
    among traces; events of other kinds pass. close() ends it, also from elsewhere.

    A lost service is sought for `reconnect_timeout` seconds, None for ever; the first connection has the
    client's timeout. Raises CursorError when the log does not hold the cursor's place any more.
    """
    made = pb.SubscribeRequest(
        filter=pb.EventFilter(
            kinds=[cast("event_pb2.EventKind.ValueType", kind.number) for kind in kinds],
            session_ids=list(session_ids),
            labels=labels or {},
            statuses=[cast("trace_pb2.CallStatus.ValueType", status.number) for status in statuses],
        ),
        view=_ON_THE_WIRE[view],
        accept_compressions=_compressions(),
    )
    if after is None:
        made.position = cast("pb.StartPosition.ValueType", position.number)
    else:
        cursor = _cursor(after)
        made.after.epoch, made.after.sequence = cursor.epoch, cursor.sequence
    return Subscribe(made, reconnect_timeout)


def _sha256(data: bytes) -> bytes:
    from hashlib import sha256  # most clients read no blob

    return sha256(data).digest()


def _digest(digest: bytes | str) -> bytes:
    try:
        name = bytes.fromhex(digest) if isinstance(digest, str) else digest
    except ValueError as error:
        raise invalid("digest", f"{digest[:80]!r} is not a SHA-256 in hexadecimal") from error
    if len(name) != DIGEST_SIZE:
        raise invalid("digest", f"has {DIGEST_SIZE} bytes, not {len(name)}")
    return name


def _cursor(after: Cursor | str) -> Cursor:
    if isinstance(after, Cursor):
        return after
    try:
        return Cursor.parse(after)
    except ValueError as error:
        raise invalid("after", str(error)) from error


def _compressions() -> list[trace_pb2.Compression.ValueType]:
    return [trace_pb2.COMPRESSION_ZSTD] if zstd() else []


def _got(data: bytes) -> Trace:
    return Trace(_got_base(data))


def _got_base(data: bytes) -> trace_pb2.Trace:
    return pb.GetTraceResponse.FromString(data).trace


def _listed(data: bytes) -> tuple[list[trace_pb2.Trace], str]:
    page = pb.ListTracesResponse.FromString(data)
    return list(page.traces), page.next_page_token
