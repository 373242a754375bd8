"""A record of rLLM's gateway as a trace. Pure.

Rules. Nothing is invented: what a record lacks of tokens, messages or its request is a capture gap. Every
trace carries the label IMPORTED_FROM, which says what none of these can have: an HTTP status (it is 0), and
a request without what rLLM's gateway had put into it. A record is one call of one session. If it is filed
under others too, those get copies, whose trace ids are made from both names, so that they come out the same
each time.
"""

from __future__ import annotations

import uuid

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.names import check_session_id, check_trace_id
from rolltrace_store.rllm.answer import Gaps, read_stream, read_whole
from rolltrace_store.rllm.values import (
    Object,
    RecordError,
    a_list,
    a_number,
    a_text,
    an_object,
    written,
)

ORIGINAL_ID = "rllm_trace_id"
"""The label that holds a record's own id, where the trace has another."""
_NAMESPACE = uuid.UUID("9d1a0b0e-6c53-5f0b-9a0e-3f6f7c1d5a42")
_BY_OBJECT = {
    "chat.completion": "chat/completions",
    "text_completion": "completions",
    "response": "responses",
    "message": "messages",
}
_BY_REQUEST = {"messages": "chat/completions", "prompt": "completions"}
IMPORTED_FROM = "imported_from"
_ORIGIN = "rllm-model-gateway"
_UNSAID = "of a stream that has no message, rLLM's gateway kept nothing that was said"


def trace_id_of(record: Object, trace_id: str, session_id: str) -> str:
    """The id that a record has as a trace of this session."""
    if record.get("session_id") == session_id:
        try:
            check_trace_id(trace_id)
        except InvalidArgumentError:
            pass
        else:
            return trace_id
    return str(uuid.uuid5(_NAMESPACE, f"{session_id}\n{trace_id}"))


def trace_of(record: Object, trace_id: str, session_id: str, created: float) -> pb.Trace:
    """`trace_id`, `session_id` and `created` (seconds since 1970) as the file has them.

    Raises RecordError for what can't be a trace.
    """
    try:
        check_session_id(session_id)
        return _trace(record, trace_id, session_id, created)
    except RecordError:
        raise
    except (ValueError, OverflowError) as error:  # text that is no UTF-8, a time that nobody has
        raise RecordError(f"it holds what a trace can't: {error}") from error
    except InvalidArgumentError as error:
        raise RecordError(str(error)) from error


def _trace(record: Object, trace_id: str, session_id: str, created: float) -> pb.Trace:
    request, response = an_object(record.get("raw_request")), record.get("raw_response")
    trace = pb.Trace(
        trace_id=trace_id_of(record, trace_id, session_id),
        session_id=session_id,
        model=a_text(record.get("model")),
        endpoint=_endpoint(request, an_object(response)),
        streamed=response is None,
    )
    gaps: Gaps = {}
    _read_times(trace, record, created)
    _read_request(trace, record, gaps)
    _read_answer(trace, record, gaps)
    trace.labels[IMPORTED_FROM] = _ORIGIN
    for name, value in an_object(record.get("metadata")).items():
        trace.labels[name] = value if isinstance(value, str) else written(value).decode()
    if trace.trace_id != trace_id:
        trace.labels[ORIGINAL_ID] = trace_id
    for (kind, index), said in sorted(gaps.items(), key=lambda gap: (gap[0][1] is not None, gap[0])):
        trace.capture_gaps.add(kind=kind, completion_index=index, message=said)
    return trace


def _endpoint(request: Object, response: Object) -> str:
    """It is not recorded: told from the answer's kind, else from the request's; "" for neither."""
    kind = a_text(response.get("object")) or a_text(response.get("type"))
    if kind in _BY_OBJECT:
        return _BY_OBJECT[kind]
    return next((endpoint for key, endpoint in _BY_REQUEST.items() if key in request), "")


def _read_times(trace: pb.Trace, record: Object, created: float) -> None:
    """A record's timestamp is that of its end."""
    latency = max(0.0, a_number(record.get("latency_ms"))) / 1e3
    end = a_number(record.get("timestamp")) or created
    trace.latency.FromNanoseconds(int(latency * 1e9))
    trace.admit_time.FromNanoseconds(int((end - latency) * 1e9))


def _read_request(trace: pb.Trace, record: Object, gaps: Gaps) -> None:
    request, messages = an_object(record.get("raw_request")), a_list(record.get("messages"))
    if request:
        trace.request_json = written(request)
    elif messages:
        trace.request_json = written({"model": trace.model, "messages": messages})
        gaps[pb.CAPTURE_GAP_KIND_REQUEST, None] = "of the request only model and messages were recorded"
    else:
        gaps[pb.CAPTURE_GAP_KIND_REQUEST, None] = "no request was recorded"


def _read_answer(trace: pb.Trace, record: Object, gaps: Gaps) -> None:
    response = record.get("raw_response")
    trace.status = pb.CALL_STATUS_COMPLETED
    if response is None:
        read_stream(trace, record, an_object(record.get("raw_request")), gaps)
        if not trace.response_json:
            gaps[pb.CAPTURE_GAP_KIND_UNREADABLE, None] = _UNSAID
        if not trace.completions[0].finish_reason:
            trace.status = pb.CALL_STATUS_UNSPECIFIED
            trace.error.code = "end_not_recorded"
            trace.error.message = "The stream's end was not recorded: the agent or the worker broke it off."
    elif a_list(an_object(response).get("choices")):
        read_whole(trace, record, an_object(response), gaps)
    else:
        trace.response_json = written(response)
        _read_other(trace, an_object(response), gaps)


def _read_other(trace: pb.Trace, response: Object, gaps: Gaps) -> None:
    """An answer without choices: an error, or one of an endpoint that samples nothing."""
    error = response.get("error") or response.get("detail")
    if response.get("object") == "error":
        error = response
    if not error:
        gaps[pb.CAPTURE_GAP_KIND_ENDPOINT, None] = "the answer has no choices"
        return
    said = a_text(an_object(error).get("message")) or a_text(error) or written(error).decode()
    trace.status = pb.CALL_STATUS_UPSTREAM_ERROR
    trace.error.code, trace.error.message = "upstream_status", said
