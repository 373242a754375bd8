"""The form in which a caller gets a stored trace: its view, and the compressions it can undo.

Stored bytes pass as they are whenever the form allows; that is the case of the Python client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import zstandard

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.errors import CorruptError, InvalidArgumentError
from rolltrace_store.interface import ReadView

_VIEWS = (
    pb.TRACE_VIEW_UNSPECIFIED,
    pb.TRACE_VIEW_FULL,
    pb.TRACE_VIEW_COMPACT,
    pb.TRACE_VIEW_METADATA,
    pb.TRACE_VIEW_STANDALONE,
)


@dataclass(frozen=True, slots=True)
class TraceForm:
    """How a caller gets traces."""

    view: pb.TraceView.ValueType
    takes_zstd: bool

    def of(self, view: ReadView, stored: bytes) -> bytes:
        """A serialised trace in this form, of a stored one. Raises CorruptError."""
        if self.view == pb.TRACE_VIEW_COMPACT:
            return self._as_taken(stored)
        trace = pb.Trace.FromString(stored)
        if self.view == pb.TRACE_VIEW_STANDALONE:
            return self._as_taken(view.standalone(trace).SerializeToString())
        if self.view == pb.TRACE_VIEW_METADATA:
            return _without_heavy(trace).SerializeToString()
        return view.expand(trace).SerializeToString()

    def _as_taken(self, compact: bytes) -> bytes:
        return compact if self.takes_zstd else _decompressed(compact)


def trace_form(view: pb.TraceView.ValueType, accept: Iterable[pb.Compression.ValueType]) -> TraceForm:
    """The form that a request asks for. Raises InvalidArgumentError for a view that is not known."""
    if view not in _VIEWS:
        raise InvalidArgumentError("view", f"view {view} is not known")
    return TraceForm(view, pb.COMPRESSION_ZSTD in accept)


def _without_heavy(trace: pb.Trace) -> pb.Trace:
    trace.ClearField("prompt_token_ids")
    trace.ClearField("completions")
    trace.ClearField("request_json")
    trace.ClearField("response_json")
    trace.ClearField("compact")
    return trace


def _decompressed(stored: bytes) -> bytes:
    trace = pb.Trace.FromString(stored)
    if trace.compact.compression != pb.COMPRESSION_ZSTD:
        return stored
    try:
        trace.compact.body = zstandard.ZstdDecompressor().decompressobj().decompress(trace.compact.body)
    except zstandard.ZstdError as error:
        raise CorruptError(f"the body of trace {trace.trace_id} cannot be decompressed: {error}") from error
    trace.compact.compression = pb.COMPRESSION_NONE
    return trace.SerializeToString()
