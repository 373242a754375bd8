"""What a record of rLLM's gateway says of the answer: prompt, completions, usage, and what is missing.

Of an answer in one piece it keeps the worker's body, from which every choice is read anew, since its own
fields drop missing log-probabilities and know the first choice alone. Of a stream it keeps those fields only.
Pure. The form is that of `TraceRecord` in rllm_model_gateway.models, 0.1.0.
"""

from __future__ import annotations

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.rllm.values import (
    Object,
    a_count,
    a_list,
    a_text,
    an_object,
    packed_ids,
    packed_logprobs,
    written,
)

_SIZE = 4
_NAN = b"\0\0\xc0\x7f"
_UNSEEN = ("prompt_token_ids", "prompt_logprobs", "kv_transfer_params")
_UNSEEN_IN_CHOICES = ("token_ids", "stop_reason")
"""What the gateway takes out of an answer before the agent gets it."""

Gaps = dict[tuple[pb.CaptureGapKind.ValueType, int | None], str]


def read_whole(trace: pb.Trace, record: Object, response: Object, gaps: Gaps) -> None:
    """Of an answer in one piece that has choices. Raises RecordError."""
    choices = [an_object(choice) for choice in a_list(response.get("choices"))]
    for place, choice in enumerate(choices):
        index = a_count(choice.get("index"))
        ids = choice.get("token_ids") or (record.get("completion_token_ids") if place == 0 else None)
        trace.completions.append(_completion(place if index is None else index, choice, ids, gaps))
    prompt = response.get("prompt_token_ids") or choices[0].get("prompt_token_ids")
    _read_prompt(trace, prompt or record.get("prompt_token_ids"), gaps)
    _read_usage(trace, an_object(response.get("usage")), "prompt_tokens", "completion_tokens", gaps)
    trace.response_json = written(_as_seen(response, an_object(record.get("raw_request"))))


def read_stream(trace: pb.Trace, record: Object, request: Object, gaps: Gaps) -> None:
    """Of a stream. Raises RecordError."""
    completion = pb.Completion(finish_reason=a_text(record.get("finish_reason")))
    asked = a_count(request.get("n")) or 1
    if asked > 1:
        said = f"what {asked} choices said was recorded as said by one, in the order in which it came"
        gaps[pb.CAPTURE_GAP_KIND_TOKEN_IDS, 0] = gaps[pb.CAPTURE_GAP_KIND_LOGPROBS, 0] = said
    else:
        _read_text(trace, completion, _whole_message(an_object(record.get("response_message"))))
        completion.token_ids = packed_ids(record.get("completion_token_ids"), "completion_token_ids")
        logprobs = packed_logprobs(a_list(record.get("logprobs")), "logprobs")
        _add_logprobs(completion, logprobs, gaps)
    if not completion.finish_reason:
        gaps[pb.CAPTURE_GAP_KIND_FINISH_REASON, 0] = "none was recorded"
    trace.completions.append(completion)
    _read_prompt(trace, record.get("prompt_token_ids"), gaps)
    _read_usage(trace, an_object(record.get("token_counts")), "prompt", "completion", gaps)


def _read_text(trace: pb.Trace, completion: pb.Completion, message: Object) -> None:
    """Of a stream; that of completions, which has no message, was not recorded."""
    if trace.endpoint == "chat/completions":
        completion.message_json = written(message)
        choice = {"index": 0, "message": message, "finish_reason": completion.finish_reason or None}
        trace.response_json = written({"model": trace.model, "choices": [choice]})


def _completion(index: int, choice: Object, ids: object, gaps: Gaps) -> pb.Completion:
    message = choice.get("message")
    if "text" in choice:
        message = {"role": "assistant", "content": choice["text"]}
    completion = pb.Completion(
        index=index,
        token_ids=packed_ids(ids, "token_ids"),
        finish_reason=a_text(choice.get("finish_reason")),
        message_json=written(message) if message else b"",
    )
    given = an_object(choice.get("logprobs"))
    if "token_logprobs" in given:
        values = a_list(given["token_logprobs"])
    else:
        values = [an_object(token).get("logprob") for token in a_list(given.get("content"))]
    _add_logprobs(completion, packed_logprobs(values, "logprobs"), gaps)
    if not completion.finish_reason:
        gaps[pb.CAPTURE_GAP_KIND_FINISH_REASON, index] = "the worker gave none"
    return completion


def _add_logprobs(completion: pb.Completion, logprobs: bytes, gaps: Gaps) -> None:
    """Sets them if they line up with the ids."""
    index, ids, given = completion.index, len(completion.token_ids) // _SIZE, len(logprobs) // _SIZE
    if not ids:
        gaps[pb.CAPTURE_GAP_KIND_TOKEN_IDS, index] = "no sampled ids were recorded"
    if not given:
        if ids:
            gaps[pb.CAPTURE_GAP_KIND_LOGPROBS, index] = f"none for {ids} of {ids} ids"
    elif given != ids:
        said = f"{ids} ids and {given} log-probabilities: which belong together is not known"
        gaps[pb.CAPTURE_GAP_KIND_MISMATCH, index] = said
    else:
        completion.logprobs = logprobs
        lacking = sum(logprobs[at : at + _SIZE] == _NAN for at in range(0, len(logprobs), _SIZE))
        if lacking:
            gaps[pb.CAPTURE_GAP_KIND_LOGPROBS, index] = f"none for {lacking} of {ids} ids"


def _read_prompt(trace: pb.Trace, ids: object, gaps: Gaps) -> None:
    trace.prompt_token_ids = packed_ids(ids, "prompt_token_ids")
    if not trace.prompt_token_ids:
        gaps[pb.CAPTURE_GAP_KIND_PROMPT_TOKEN_IDS, None] = "no prompt ids were recorded"


def _read_usage(trace: pb.Trace, usage: Object, prompt: str, completion: str, gaps: Gaps) -> None:
    """Unset unless both numbers are there; held against the ids where there are all."""
    asked, sampled = a_count(usage.get(prompt)), a_count(usage.get(completion))
    if asked is None or sampled is None:
        return
    trace.usage.prompt_tokens, trace.usage.completion_tokens = asked, sampled
    cached = a_count(an_object(usage.get("prompt_tokens_details")).get("cached_tokens"))
    if cached is not None:
        trace.usage.cached_prompt_tokens = cached
    ids = [len(each.token_ids) // _SIZE for each in trace.completions]
    if all(ids) and sum(ids) != sampled:
        gaps[pb.CAPTURE_GAP_KIND_MISMATCH, None] = f"{sum(ids)} sampled ids, but usage counts {sampled}"


def _as_seen(response: Object, request: Object) -> Object:
    """The answer as the agent got it, as far as the record tells."""
    unseen = _UNSEEN_IN_CHOICES if request.get("top_logprobs") else (*_UNSEEN_IN_CHOICES, "logprobs")
    seen = {name: value for name, value in response.items() if name not in _UNSEEN}
    seen["choices"] = [
        {name: value for name, value in an_object(choice).items() if name not in unseen}
        for choice in a_list(response.get("choices"))
    ]
    return seen


def _whole_message(message: Object) -> Object:
    """The message of a stream: its tool calls were kept as the pieces that they came in."""
    pieces = [an_object(piece) for piece in a_list(message.get("tool_calls"))]
    if not pieces:
        return message
    calls: dict[int, dict[str, object]] = {}
    for piece in pieces:
        index = a_count(piece.get("index")) or 0
        call = calls.setdefault(index, {"id": "", "type": "function", "function": {}})
        call["id"] = a_text(call["id"]) or a_text(piece.get("id"))
        call["function"] = _joined(an_object(call["function"]), an_object(piece.get("function")))
    return {**message, "tool_calls": [calls[index] for index in sorted(calls)]}


def _joined(before: Object, piece: Object) -> Object:
    name = a_text(before.get("name")) or a_text(piece.get("name"))
    return {"name": name, "arguments": a_text(before.get("arguments")) + a_text(piece.get("arguments"))}
