"""Traces as values: what was asked, what was sampled, and with which log-probabilities."""

from __future__ import annotations

import json
from enum import auto
from functools import cached_property
from typing import Any

from rolltrace.v1 import trace_pb2

from .arrays import float32s, int32s
from .errors import UnreadableBody
from .value import Field, Maybe, Value, Word, many, moment, seconds


class CallStatus(Word):
    UNSPECIFIED = auto()
    COMPLETED = auto()
    CLIENT_CANCELLED = auto()
    UPSTREAM_ERROR = auto()
    REFUSED = auto()
    INTERRUPTED = auto()


class CaptureGapKind(Word):
    UNSPECIFIED = auto()
    PROMPT_TOKEN_IDS = auto()
    TOKEN_IDS = auto()
    LOGPROBS = auto()
    MISMATCH = auto()
    FINISH_REASON = auto()
    UNREADABLE = auto()
    ENDPOINT = auto()
    TOO_LARGE = auto()
    REQUEST = auto()


class View(Word):
    """How much of a trace to read. METADATA leaves out token ids, log-probabilities and bodies."""

    FULL = auto()
    METADATA = auto()


class CallError(Value[trace_pb2.CallError]):
    """Why a call has a status other than COMPLETED."""

    code = Field(str)
    message = Field(str)


class Usage(Value[trace_pb2.Usage]):
    """As the worker counted."""

    prompt_tokens = Field(int)
    completion_tokens = Field(int)
    cached_prompt_tokens = Maybe(int)


class CaptureGap(Value[trace_pb2.CaptureGap]):
    """Something that the worker did not give. `completion_index` is None for the call as a whole."""

    kind = Field(CaptureGapKind.read)
    completion_index = Maybe(int)
    message = Field(str)


class VersionSpan(Value[trace_pb2.VersionSpan]):
    """token_ids[start:end] were sampled by policy `version`."""

    start = Field(int)
    end = Field(int)
    version = Field(str)


class Blob(Value[trace_pb2.Blob]):
    """Bytes that are kept once, however many traces have them; `client.get_blob(digest)` reads them.

    `digest` is their SHA-256 in hexadecimal, `size` their number.
    """

    digest = Field(bytes.hex)
    size = Field(int)


class BlobArray(Value[trace_pb2.BlobArray]):
    """An array that is kept as a blob; `client.get_array(it)` reads it. `dtype` is as numpy writes it."""

    blob = Field(Blob)
    dtype = Field(str)
    shape = Field(many(int))

    def _title(self) -> str:
        return f"{self.dtype} {self.shape}, blob {self.blob.digest}"


class Completion(Value[trace_pb2.Completion]):
    """One sampled completion.

    `token_ids` is int32 [n]; `logprobs` is float32 [n], natural logarithm, NaN where the worker gave none,
    and [0] when it gave none at all. numpy arrays over the message's bytes, or array.array without numpy.
    `routed_experts` are the experts that each token was routed to, None when the worker gave none.
    """

    index = Field(int)
    token_ids = Field(int32s)
    logprobs = Field(float32s)
    finish_reason = Field(str)
    message_json = Field(bytes)

    version_spans = Field(many(VersionSpan))
    routed_experts = Maybe(BlobArray)

    @cached_property
    def message(self) -> Any:
        """The assistant message, parsed; None when there is none."""
        return _parse(self.message_json, f"the message of completion {self.index}")

    def _title(self) -> str:
        return f"{self.index}: {len(self.proto.token_ids) // 4} ids, {self.finish_reason or 'unfinished'}"


class Trace(Value[trace_pb2.Trace]):
    """One model call, from admission to its end, however it ended.

    `prompt_token_ids` is int32 [n], the prompt as the model saw it. The bodies are there as bytes
    (`request_json`, `response_json`) and parsed when asked for (`request`, `response`). What the worker
    did not give is named in `capture_gaps`, never made up. `latency` and `time_to_first_token` are seconds.
    A `late` trace came after its session was sealed. `digest` is hexadecimal; see `verify`.
    """

    sequence = Field(int)
    trace_id = Field(str)
    session_id = Field(str)
    call_index = Field(int)
    parent_trace_id = Field(str)
    model = Field(str)
    worker_id = Field(str)
    endpoint = Field(str)
    streamed = Field(bool)
    status = Field(CallStatus.read)
    http_status = Field(int)
    error = Maybe(CallError)
    admit_time = Maybe(moment)
    time_to_first_token = Maybe(seconds)
    latency = Maybe(seconds)
    prompt_token_ids = Field(int32s)
    completions = Field(many(Completion))
    request_json = Field(bytes)
    response_json = Field(bytes)
    usage = Maybe(Usage)
    policy_version = Field(str)
    capture_gaps = Field(many(CaptureGap))
    labels = Field(dict[str, str])
    attempt_count = Field(int)
    late = Field(bool)
    retry_number = Field(int)
    retried_trace_id = Field(str)
    replay_count = Field(int)
    digest = Field(bytes.hex)

    @cached_property
    def request(self) -> Any:
        """The agent's request, parsed; None when there is none. Raises UnreadableBody."""
        return _parse(self.request_json, f"the request of trace {self.trace_id}")

    @cached_property
    def response(self) -> Any:
        """The answer, parsed; None when there is none. Raises UnreadableBody."""
        return _parse(self.response_json, f"the response of trace {self.trace_id}")

    def _title(self) -> str:
        return f"{self.trace_id} {self.session_id} #{self.call_index} {self.status}"


def _parse(body: bytes, what: str) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError as error:
        raise UnreadableBody(f"{what} is not JSON ({error}): read its bytes instead") from error
