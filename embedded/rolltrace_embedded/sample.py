"""What a model sampled, as a handler gives it, and its parts in vLLM's places. Decisions only.

Source of the places: vLLM 0.32 (tests/samples). A log-probability that is not a number is null, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Object = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One choice of an answer; from an async iterator, the next piece of one.

    `text` is what the tokens say; a `message` (chat: content, reasoning, tool_calls, ...) goes before it, in
    a stream as a delta. `token_ids` are int32, `logprobs` natural logarithms, as many as the ids;
    `prompt_token_ids` belong to the first piece at least. Lists, numpy arrays and tensors will do.
    `finish_reason`: "stop", or "tool_calls" where there are some, unless given; of a piece, None while it
    goes on. `index` tells the choices of a stream apart; in a list of samples their places do. Raises
    ValueError.
    """

    text: str = ""
    message: Mapping[str, object] | None = None
    token_ids: Iterable[int] | None = None
    logprobs: Iterable[float] | None = None
    prompt_token_ids: Iterable[int] | None = None
    finish_reason: str | None = None
    index: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("token_ids", int), ("prompt_token_ids", int), ("logprobs", float)):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, [kind(value) for value in values])
        ids, logprobs = _length(self.token_ids), _length(self.logprobs)
        if logprobs is not None and logprobs != ids:
            raise ValueError(f"{ids or 0} token_ids and {logprobs} logprobs; a Sample has as many of both")


def ids_of(values: Iterable[int] | None) -> list[int] | None:
    return None if values is None else list(values)


def chat_logprobs(sample: Sample) -> Object | None:
    """A token is named by its id, as vLLM's `return_tokens_as_token_ids` does: its text is not known here."""
    if sample.token_ids is None or sample.logprobs is None:
        return None
    return {
        "content": [
            {"token": f"token_id:{token}", "logprob": _number(logprob), "bytes": None, "top_logprobs": []}
            for token, logprob in zip(sample.token_ids, sample.logprobs, strict=True)
        ]
    }


def completion_logprobs(sample: Sample) -> Object | None:
    if sample.token_ids is None or sample.logprobs is None:
        return None
    return {
        "tokens": [f"token_id:{token}" for token in sample.token_ids],
        "token_logprobs": [_number(logprob) for logprob in sample.logprobs],
        "top_logprobs": [],
        "text_offset": [],
    }


def _number(logprob: float) -> float | None:
    return logprob if math.isfinite(logprob) else None


def _length(values: Iterable[object] | None) -> int | None:
    return len(values) if isinstance(values, Sequence) else None
