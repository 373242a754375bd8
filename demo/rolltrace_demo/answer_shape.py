"""What both endpoints' answers have in common, and the log-probabilities in each one's shape.

The source of every shape is a real vLLM 0.32: the tests compare keys with its answers. Fields that
were not asked for are there as null, as vLLM sends them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rolltrace_demo.choice_run import Candidate, Step
from rolltrace_demo.request_plan import RunPlan

JsonObject = dict[str, object]

FINGERPRINT = "rolltrace-demo-0.1.0"


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What the decisions can't decide: a number, the time in whole seconds, the model's name."""

    number: str
    created: int
    model: str


class WireAnswer(Protocol):
    """One answer on the wire, whole or as a stream's events. An object serves one of the two."""

    plan: RunPlan

    def body(self, choices: Sequence[Sequence[Step]]) -> JsonObject:
        """The whole answer."""
        ...

    def opening(self) -> list[JsonObject]:
        """The events before any token."""
        ...

    def chunk(self, choice: int, steps: Sequence[Step]) -> JsonObject | None:
        """The event for a choice's next steps; None where vLLM sends none."""
        ...

    def closing(self) -> list[JsonObject]:
        """The events after the last token, `[DONE]` excepted."""
        ...


def token_ids(steps: Sequence[Step], wanted: bool | None) -> list[int] | None:
    return [step.token_id for step in steps] if wanted else None


def usage(plan: RunPlan, sampled: int) -> JsonObject:
    prompt = sum(map(len, plan.prompts))
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + sampled,
        "completion_tokens": sampled,
    }


def whole_usage(plan: RunPlan, choices: Sequence[Sequence[Step]]) -> JsonObject:
    details: JsonObject = {"prompt_tokens_details": None, "completion_tokens_details": None}
    return usage(plan, sum(map(len, choices))) | details


def chat_logprobs(steps: Sequence[Step], top: int) -> JsonObject:
    """As vLLM counts: the first `top` of the sampled token and the likeliest others."""
    return {
        "content": [
            _named(step.candidates[0])
            | {"top_logprobs": [_named(candidate) for candidate in step.candidates[:top]]}
            for step in steps
        ]
    }


def _named(candidate: Candidate) -> JsonObject:
    token, logprob = candidate
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def completion_logprobs(steps: Sequence[Step], offset: int) -> JsonObject:
    """Parallel lists; offsets count the characters of the tokens' names, from `offset` on."""
    tokens = [step.candidates[0][0] for step in steps]
    return {
        "text_offset": [offset + sum(map(len, tokens[:at])) for at in range(len(tokens))],
        "token_logprobs": [step.logprob for step in steps],
        "tokens": tokens,
        # The sampled token goes in last, so that an equally named other does not take its place.
        "top_logprobs": [
            dict([step.candidates[0], *step.candidates[1:], step.candidates[0]]) for step in steps
        ],
    }
