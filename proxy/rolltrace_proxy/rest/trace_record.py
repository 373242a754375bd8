"""A trace as a TraceRecord of rLLM's gateway, in JSON.

Rules. Bodies are put in as they were recorded, not parsed and written again, once they are known to be JSON.
A prompt that begins with the one before it is written on from there: a session costs what is new in it.
Nothing is invented: log-probabilities are all there or null, and `metadata`, empty for a trace that lacks
nothing, says how the call ended and which gaps it has. TraceRecord's readers ignore the members that it does
not know: `weight_version` of 0.1.0's, and from `status` on.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from msgspec import Raw
from msgspec.json import Decoder

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.raw_json import NULL, Object, read, read_object, write

_ID_SIZE = 4
_NONE = Raw(b"[]")
_EMPTY = Raw(b"{}")
_PARTS: Decoder[list[Raw]] = Decoder(list[Raw])


def end_time(trace: pb.Trace) -> float:
    """When the worker's answer had ended, in seconds since 1970: TraceRecord's timestamp."""
    return (trace.admit_time.ToNanoseconds() + trace.latency.ToNanoseconds()) / 1e9


class TraceRecords:
    """Writes the traces of one reading."""

    def __init__(self) -> None:
        self._ids = b""
        self._text = b""

    def write(self, trace: pb.Trace, chat: bytes = b"") -> bytes:
        """Of a FULL trace; `chat` is its request as a chat completion, where it was of another API."""
        request = read_object(trace.request_json)
        response = read_object(trace.response_json)
        first = trace.completions[0] if trace.completions else pb.Completion()
        record = {
            "trace_id": trace.trace_id,
            "session_id": trace.session_id,
            "model": trace.model,
            "messages": _messages(read_object(chat) if chat else request),
            "prompt_token_ids": self._prompt(trace.prompt_token_ids),
            "response_message": _message(first),
            "completion_token_ids": ids(first.token_ids),
            "logprobs": logprobs(first),
            "finish_reason": first.finish_reason or None,
            "weight_version": weight_version(trace.policy_version),
            "latency_ms": trace.latency.ToNanoseconds() / 1e6,
            "token_counts": _token_counts(trace),
            "timestamp": end_time(trace),
            "metadata": _metadata(trace),
            "raw_request": NULL if request is None else Raw(trace.request_json),
            "raw_response": NULL if response is None else Raw(trace.response_json),
            **_extras(trace),
        }
        return write(record)

    def _prompt(self, given: bytes) -> Raw:
        known = self._ids
        if known and given.startswith(known):
            rest = _inner(given[len(known) :])
            text = b"%b,%b" % (self._text, rest) if rest else self._text
        else:
            text = _inner(given)
        self._ids, self._text = given, text
        return Raw(b"[%b]" % text)


def ids(given: bytes) -> Raw:
    """Packed token ids as a JSON array."""
    return Raw(b"[%b]" % _inner(given))


def logprobs(completion: pb.Completion) -> list[float] | None:
    """One for each id, or None when one is missing."""
    values = array("f", completion.logprobs)
    if not values or len(completion.logprobs) != len(completion.token_ids):
        return None
    return values.tolist() if all(map(math.isfinite, values)) else None


def weight_version(policy_version: str) -> int | None:
    """rLLM's versions are numbers; one that is none is None, and stands in `policy_version`."""
    is_number = policy_version.isascii() and policy_version.isdecimal() and len(policy_version) < 19
    return int(policy_version) if is_number else None


def _inner(given: bytes) -> bytes:
    return write(array("i", given).tolist())[1:-1]


def _messages(request: Object | None) -> Raw:
    """What a reader of TraceRecord takes: a list of objects."""
    messages = (request or {}).get("messages", _NONE)
    parts = read(_PARTS, messages)
    return _NONE if parts is None or not all(map(_is_object, parts)) else messages


def _is_object(part: Raw) -> bool:
    return bytes(part).startswith(b"{")


def _message(completion: pb.Completion) -> Raw:
    return _EMPTY if read_object(completion.message_json) is None else Raw(completion.message_json)


def _token_counts(trace: pb.Trace) -> dict[str, int]:
    """As the worker reported them, else as many as there are ids; nothing of what is not known."""
    if trace.HasField("usage"):
        return {"prompt": trace.usage.prompt_tokens, "completion": trace.usage.completion_tokens}
    sampled = [len(completion.token_ids) // _ID_SIZE for completion in trace.completions]
    counts = {"prompt": len(trace.prompt_token_ids) // _ID_SIZE, "completion": sum(sampled)}
    return {name: count for name, count in counts.items() if count}


def _metadata(trace: pb.Trace) -> dict[str, object]:
    said: dict[str, object] = {}
    if trace.status != pb.CALL_STATUS_COMPLETED:
        said["status"] = _status(trace)
        said["error"] = {"code": trace.error.code, "message": trace.error.message}
    if trace.capture_gaps:
        said["capture_gaps"] = [_gap(gap) for gap in trace.capture_gaps]
    return said


def _gap(gap: pb.CaptureGap) -> dict[str, object]:
    kind = pb.CaptureGapKind.Name(gap.kind).removeprefix("CAPTURE_GAP_KIND_").lower()
    index = {"completion_index": gap.completion_index} if gap.HasField("completion_index") else {}
    return {"kind": kind, **index, "message": gap.message}


def _status(trace: pb.Trace) -> str:
    return pb.CallStatus.Name(trace.status).removeprefix("CALL_STATUS_").lower()


def _extras(trace: pb.Trace) -> dict[str, object]:
    """What TraceRecord has no place for."""
    extras: dict[str, object] = {
        "status": _status(trace),
        "http_status": trace.http_status,
        "call_index": trace.call_index,
        "parent_trace_id": trace.parent_trace_id,
        "endpoint": trace.endpoint,
        "streamed": trace.streamed,
        "worker_id": trace.worker_id,
        "policy_version": trace.policy_version,
    }
    if len(trace.completions) > 1:
        extras["completions"] = _completions(trace.completions)
    return extras


def _completions(completions: Sequence[pb.Completion]) -> list[dict[str, object]]:
    """All choices: TraceRecord's own members are those of the first."""
    return [
        {
            "index": each.index,
            "response_message": _message(each),
            "completion_token_ids": ids(each.token_ids),
            "logprobs": logprobs(each),
            "finish_reason": each.finish_reason or None,
        }
        for each in completions
    ]
