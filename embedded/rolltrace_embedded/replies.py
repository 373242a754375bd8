"""What a handler gave, as the answer that was asked for. Decisions only.

A handler gives a whole answer (a dict of the OpenAI API, a Sample, a list of them) or pieces (chunk dicts,
Samples), whatever was asked for: pieces are merged for a call that is not streamed, and a whole answer
becomes a stream's chunks. Nothing that a dict holds is taken out or replaced; what every answer has, but the
dict lacks (id, object, created, model, index, role, finish_reason), is put in. Ids and log-probabilities
never are; a Sample's usage is counted where its ids are all there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast, runtime_checkable

import msgspec

from rolltrace_embedded.call import Call
from rolltrace_embedded.sample import Object, Sample, chat_logprobs, completion_logprobs, ids_of
from rolltrace_proxy.merge import Merge
from rolltrace_proxy.raw_json import OBJECTS, read_member, read_object

REMEDY = 'give {"choices": [...]} as the OpenAI API does, or rolltrace.Sample(...)'


@runtime_checkable
class Model(Protocol):
    """An answer as a pydantic model, e.g. of the openai package or of vLLM."""

    def model_dump(self, *, mode: str) -> Object: ...


def whole(call: Call, given: object) -> Object:
    """The body of a whole answer. Raises TypeError for what is none."""
    samples = _samples(given)
    if samples is not None:
        top: Object = {"prompt_token_ids": _prompt(call, samples[0])} if call.chat else {}
        given = top | {"choices": [_choice(call, at, sample) for at, sample in enumerate(samples)]}
    body = call.envelope(chunk=False) | _object(given)
    choices = [_filled(call, at, choice) for at, choice in enumerate(_choices(body))]
    usage = _usage(samples) if samples is not None else None
    return body | {"choices": choices} | ({"usage": usage} if usage else {})


def chunks_of(call: Call, body: Object) -> Iterator[Object]:
    """The chunks of a whole answer: each choice's role and prompt, what it says, and how it ended."""
    rest = {key: value for key, value in body.items() if key not in ("choices", "usage", "object")}
    top = call.envelope(chunk=True) | rest
    plain = {key: top[key] for key in call.envelope(chunk=True)}
    for choice in _choices(body):
        parts = _chat_parts(choice) if call.chat else [choice]
        for at, part in enumerate(parts):
            yield (plain if at else top) | {"choices": [part]}
    if call.wants_usage and body.get("usage"):
        yield plain | {"choices": [], "usage": body["usage"]}


def merged(call: Call, chunks: Sequence[Object]) -> Object:
    """The whole answer of a stream's chunks."""
    merge = Merge()
    for chunk in chunks:
        top = read_object(msgspec.json.encode(chunk)) or {}
        choices = read_member(OBJECTS, top, "choices") or []
        indices = [cast(int, choice["index"]) for choice in _choices(chunk)]
        top.pop("choices", None)
        merge.add(top, list(zip(indices, choices, strict=True)))
    body = merge.body()
    if body is None:
        raise TypeError(f"the handler gave no piece; {REMEDY}")
    return body


class Pieces:
    """The pieces of one answer as they come, each as a stream's chunk."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._open: dict[int, bool] = {}
        self._calls_tools: set[int] = set()
        self._samples: list[Sample] = []

    def take(self, given: object) -> Object:
        """Raises TypeError for what is no piece."""
        call = self._call
        if isinstance(given, Sample):
            self._samples.append(given)
            given = self._of_sample(given)
        chunk = call.envelope(chunk=True) | _object(given)
        return chunk | {"choices": [self._begun(at, choice) for at, choice in enumerate(_choices(chunk))]}

    def end(self) -> Iterator[Object]:
        """What is left to say: how Samples ended that did not say so, and their usage."""
        plain = self._call.envelope(chunk=True)
        if self._samples:
            for index in [index for index, is_open in self._open.items() if is_open]:
                reason = "tool_calls" if index in self._calls_tools else "stop"
                said: Object = {"delta": {}} if self._call.chat else {"text": ""}
                yield plain | {"choices": [{"index": index, **said, "finish_reason": reason}]}
            usage = _usage(self._samples)
            if usage and (self._call.wants_usage or not self._call.streamed):
                yield plain | {"choices": [], "usage": usage}

    def _of_sample(self, sample: Sample) -> Object:
        call = self._call
        if sample.index in self._open:
            sample = replace(sample, prompt_token_ids=None)  # said once, or a reader would add it up
        choice = _choice(call, sample.index, sample)
        choice["finish_reason"] = sample.finish_reason
        if not call.chat:
            return {"choices": [choice]}
        delta: Object = dict(sample.message) if sample.message is not None else {}
        if sample.text:
            delta.setdefault("content", sample.text)
        if "tool_calls" in delta:
            delta["tool_calls"] = _numbered(delta["tool_calls"])
        choice = {key: value for key, value in choice.items() if key != "message"} | {"delta": delta}
        chunk: Object = {"choices": [choice]}
        if (prompt := _prompt(call, sample)) is not None:
            chunk["prompt_token_ids"] = prompt
        return chunk

    def _begun(self, at: int, choice: Object) -> Object:
        choice = {"index": at} | choice
        choice.setdefault("finish_reason", None)
        index = cast(int, choice["index"])
        if self._call.chat:
            delta = _object(choice.get("delta") or {})
            first: Object = {} if index in self._open else {"role": "assistant"}
            choice["delta"] = first | delta
            if delta.get("tool_calls"):
                self._calls_tools.add(index)
        self._open[index] = not choice["finish_reason"]
        return choice


def _samples(given: object) -> list[Sample] | None:
    """Of a Sample or a list of them; None for anything else."""
    if isinstance(given, Sample):
        return [given]
    if isinstance(given, list | tuple):
        samples = [each for each in cast("Sequence[object]", given) if isinstance(each, Sample)]
        return samples if samples and len(samples) == len(cast("Sequence[object]", given)) else None
    return None


def _choice(call: Call, index: int, sample: Sample) -> Object:
    choice: Object = {"index": index}
    if call.chat:
        message = dict(sample.message or {})
        choice["message"] = {
            "content": sample.text or ("" if "tool_calls" not in message else None)
        } | message
    else:
        choice["text"] = sample.text
        choice["prompt_token_ids"] = _prompt(call, sample)
    logprobs = chat_logprobs if call.chat else completion_logprobs
    choice["logprobs"] = logprobs(sample) if call.wants_logprobs else None
    choice["token_ids"] = ids_of(sample.token_ids) if call.wants_ids else None
    if sample.finish_reason is not None:
        choice["finish_reason"] = sample.finish_reason
    return choice


def _prompt(call: Call, sample: Sample) -> list[int] | None:
    return ids_of(sample.prompt_token_ids) if call.wants_ids else None


def _filled(call: Call, at: int, choice: Object) -> Object:
    """A choice of a whole answer with what every one has."""
    choice = {"index": at} | choice
    message = _object(choice.get("message") or {}) if call.chat else {}
    if call.chat:
        choice["message"] = {"role": "assistant"} | message
    choice.setdefault("logprobs", None)
    choice.setdefault("finish_reason", "tool_calls" if message.get("tool_calls") else "stop")
    return choice


def _chat_parts(choice: Object) -> list[Object]:
    """A choice of a whole chat answer as those of three chunks."""
    message = dict(cast(Object, choice["message"]))
    index, role = choice["index"], message.pop("role")
    if "tool_calls" in message:
        message["tool_calls"] = _numbered(message["tool_calls"])
    tokens: Object = {key: choice[key] for key in ("logprobs", "token_ids") if key in choice}
    known = ("index", "message", "logprobs", "token_ids", "finish_reason")
    end: Object = {key: value for key, value in choice.items() if key not in known}
    open_: Object = {"index": index, "logprobs": None, "finish_reason": None}
    return [
        open_ | {"delta": {"role": role, "content": ""}},
        open_ | {"delta": message} | tokens,
        open_ | {"delta": {}, "finish_reason": choice["finish_reason"]} | end,
    ]


def _numbered(calls: object) -> object:
    """Tool calls as a stream has them: each with its index."""
    if not isinstance(calls, list):
        return calls
    return [{"index": at} | _object(each) for at, each in enumerate(cast("list[object]", calls))]


def _usage(samples: Sequence[Sample]) -> Object | None:
    """Counted, so None where some ids were not given."""
    prompt = next((len(ids) for sample in samples if (ids := ids_of(sample.prompt_token_ids))), None)
    sampled = [ids_of(sample.token_ids) for sample in samples]
    if prompt is None or None in sampled:
        return None
    count = sum(len(ids) for ids in sampled if ids is not None)
    return {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}


def _choices(body: Mapping[str, object]) -> list[Object]:
    choices = body.get("choices")
    if not isinstance(choices, list):
        raise TypeError(f"what the handler gave has no list of choices; {REMEDY}")
    return [_object(choice) for choice in cast("list[object]", choices)]


def _object(given: object) -> Object:
    if isinstance(given, Model):
        given = given.model_dump(mode="json")
    if not isinstance(given, Mapping):
        raise TypeError(f"the handler gave {type(given).__name__}; {REMEDY}")
    return dict(cast("Mapping[str, object]", given))
