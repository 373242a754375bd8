"""An answer of /v1/completions in vLLM's shape: `text_completion`, whole or in chunks."""

from collections.abc import Sequence

from rolltrace_demo.answer_shape import (
    FINGERPRINT,
    AnswerHead,
    JsonObject,
    completion_logprobs,
    token_ids,
    usage,
    whole_usage,
)
from rolltrace_demo.choice_run import Step
from rolltrace_demo.openai_requests import CompletionRequest
from rolltrace_demo.request_plan import RunPlan


class CompletionAnswer:
    def __init__(self, head: AnswerHead, request: CompletionRequest, plan: RunPlan) -> None:
        self.plan = plan
        self._head = head
        self._request = request
        self._sent: dict[int, list[Step]] = {}

    def body(self, choices: Sequence[Sequence[Step]]) -> JsonObject:
        return self._envelope() | {
            "choices": [self._choice(index, steps) for index, steps in enumerate(choices)],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": whole_usage(self.plan, choices),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def opening(self) -> list[JsonObject]:
        return []

    def chunk(self, choice: int, steps: Sequence[Step]) -> JsonObject | None:
        sent = self._sent.setdefault(choice, [])
        last = steps[-1]
        entry: JsonObject = {
            "index": choice,
            "text": "".join(step.text for step in steps),
            "logprobs": self._logprobs(steps, sent),
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
            "prompt_token_ids": None if sent else self._prompt_ids(choice),
            "token_ids": token_ids(steps, self._request.return_token_ids),
        }
        sent.extend(steps)
        ends = last.finish_reason and not self._request.includes_usage
        tail: JsonObject = {"system_fingerprint": FINGERPRINT} if ends else {}
        return self._envelope() | {"choices": [entry]} | tail

    def closing(self) -> list[JsonObject]:
        if not self._request.includes_usage:
            return []
        sampled = sum(map(len, self._sent.values()))
        tail: JsonObject = {
            "choices": [],
            "usage": usage(self.plan, sampled),
            "system_fingerprint": FINGERPRINT,
        }
        return [self._envelope() | tail]

    def _envelope(self) -> JsonObject:
        head = self._head
        return {
            "id": f"cmpl-{head.number}",
            "object": "text_completion",
            "created": head.created,
            "model": head.model,
        }

    def _choice(self, index: int, steps: Sequence[Step]) -> JsonObject:
        return {
            "index": index,
            "text": "".join(step.text for step in steps),
            "logprobs": self._logprobs(steps, ()),
            "finish_reason": steps[-1].finish_reason,
            "stop_reason": steps[-1].stop_reason,
            "token_ids": token_ids(steps, self._request.return_token_ids),
            "prompt_logprobs": None,
            "prompt_token_ids": self._prompt_ids(index),
            "routed_experts": None,
        }

    def _logprobs(self, steps: Sequence[Step], sent: Sequence[Step]) -> JsonObject | None:
        if self._request.logprobs is None:
            return None
        return completion_logprobs(steps, sum(len(step.candidates[0][0]) for step in sent))

    def _prompt_ids(self, choice: int) -> list[int] | None:
        return self.plan.prompts[choice // self.plan.n] if self._request.return_token_ids else None
