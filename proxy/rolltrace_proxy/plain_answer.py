"""A whole answer as vLLM gives it, with nothing missing: read in one pass, each byte once.

Rules. It gives what reading member by member gives (whole_answer), but for white space, which stays. An
answer that is not as it should be, so that there would be a gap to name, is left to that: then None comes
out, and nothing has been done.
"""

from __future__ import annotations

from msgspec import Raw, Struct
from msgspec.json import Decoder

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.capture import FINISH_REASONS, MAX_INDEX, Captured, UsageFields, usage_message
from rolltrace_proxy.cut import cut
from rolltrace_proxy.merge import as_message
from rolltrace_proxy.prompts import ReadPrompt
from rolltrace_proxy.raw_json import NULL, is_utf8, read, write
from rolltrace_proxy.rewrite import Rewrite
from rolltrace_proxy.tokens import pack_logprobs, pack_text, read_logprobs


class _Choice(Struct, gc=False):
    index: int
    token_ids: str
    logprobs: str
    finish_reason: str
    prompt_token_ids: str | None = None
    message: Raw = NULL
    text: str | None = None
    routed_experts: None = None
    weight_versions: None = None


class _Answer(Struct, gc=False):
    """Of what was cut out there is the mark; what is always null is not known at that place."""

    choices: list[_Choice]
    prompt_token_ids: str | None = None
    token_ids: None = None
    logprobs: None = None
    model: str = ""
    usage: UsageFields | None = None


_ANSWER: Decoder[_Answer] = Decoder(_Answer)


class _OddError(Exception):
    """Something is not as it should be."""


def read_plain_answer(
    rewrite: Rewrite, body: bytes, read_prompt: ReadPrompt
) -> tuple[bytes, Captured] | None:
    """The body for the agent, and the capture; None when they are to be had the careful way alone."""
    if rewrite.streamed or rewrite.echoes or not rewrite.plain:
        return None
    taken_apart = cut(body, several=rewrite.choices > 1)
    left = None if taken_apart is None else taken_apart.left()
    if taken_apart is None or left is None or not is_utf8(left):
        return None
    answer = read(_ANSWER, left)
    if answer is None or len(answer.choices) < max(1, rewrite.choices):
        return None
    parts = taken_apart.parts()
    try:
        prompt = _prompt(answer, parts, read_prompt)
        completions = {choice.index: _completion(choice, parts) for choice in answer.choices}
    except (_OddError, KeyError):  # KeyError: a value where a mark should be
        return None
    if parts or len(completions) != len(answer.choices) or not _agrees(answer.usage, prompt, completions):
        return None
    body = taken_apart.without(rewrite.added) if rewrite.added else body
    return body, Captured(
        prompt_token_ids=prompt,
        completions=[completions[index] for index in sorted(completions)],
        response_json=body,
        usage=None if answer.usage is None else usage_message(answer.usage),
        model=answer.model,
    )


def _prompt(answer: _Answer, parts: dict[str, bytes], read_prompt: ReadPrompt) -> bytes:
    """The prompt of the call, which all choices share."""
    prompt: bytes | None = None
    for mark in (answer.prompt_token_ids, *[choice.prompt_token_ids for choice in answer.choices]):
        if mark is not None:
            ids = read_prompt(parts.pop(mark))
            if not ids or (prompt is not None and ids != prompt):
                raise _OddError
            prompt = ids
    if prompt is None:
        raise _OddError
    return prompt


def _completion(choice: _Choice, parts: dict[str, bytes]) -> pb.Completion:
    ids = pack_text(parts.pop(choice.token_ids))
    text = parts.pop(choice.logprobs)
    values = read_logprobs(text) if is_utf8(text) else None
    logprobs = None if values is None else pack_logprobs(values)
    if not ids or logprobs is None or logprobs[1] or len(logprobs[0]) != len(ids):
        raise _OddError
    if choice.finish_reason not in FINISH_REASONS or not 0 <= choice.index <= MAX_INDEX:
        raise _OddError
    return pb.Completion(
        index=choice.index,
        token_ids=ids,
        logprobs=logprobs[0],
        finish_reason=choice.finish_reason,
        message_json=_message_json(choice),
    )


def _message_json(choice: _Choice) -> bytes:
    if choice.message != NULL:
        return bytes(choice.message)
    message = as_message(choice.text)
    return b"" if message is None else write(message)


def _agrees(usage: UsageFields | None, prompt: bytes, completions: dict[int, pb.Completion]) -> bool:
    if usage is None:
        return True
    sampled = sum([len(completion.token_ids) for completion in completions.values()])
    return len(prompt) == 4 * usage.prompt_tokens and sampled == 4 * usage.completion_tokens
