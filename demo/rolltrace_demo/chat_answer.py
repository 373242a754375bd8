"""A chat answer in vLLM's shape: `chat.completion`, or the chunks of a stream.

Text of a forced call is never content: it is read back as a tool call, whole or in deltas, and
only a call that was cut off is left as text. Ids and log-probabilities cover the raw text either
way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rolltrace_demo.answer_shape import (
    FINGERPRINT,
    AnswerHead,
    JsonObject,
    chat_logprobs,
    token_ids,
    usage,
    whole_usage,
)
from rolltrace_demo.choice_run import Step
from rolltrace_demo.openai_requests import ChatRequest, NamedChoice
from rolltrace_demo.request_plan import RunPlan
from rolltrace_demo.tool_grammar import written_call


@dataclass(slots=True)
class _Progress:
    """How far a choice's stream has come."""

    text: str = ""
    named: bool = False
    arguments: int = 0


class ChatAnswer:
    def __init__(self, head: AnswerHead, request: ChatRequest, plan: RunPlan) -> None:
        self.plan = plan
        self._head = head
        self._request = request
        self._progress = [_Progress() for _ in range(plan.n)]
        self._sampled = 0

    def body(self, choices: Sequence[Sequence[Step]]) -> JsonObject:
        return self._envelope("chat.completion") | {
            "choices": [self._choice(index, steps) for index, steps in enumerate(choices)],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": whole_usage(self.plan, choices),
            "prompt_logprobs": None,
            "prompt_token_ids": self._prompt_ids(),
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def opening(self) -> list[JsonObject]:
        return [self._role_chunk(index) for index in range(self.plan.n)]

    def chunk(self, choice: int, steps: Sequence[Step]) -> JsonObject | None:
        self._sampled += len(steps)
        delta = self._delta(choice, "".join(step.text for step in steps))
        finish = self._finish(self._progress[choice].text, steps[-1])
        asks = self._request.return_token_ids or self._request.logprobs
        if not (delta or finish or asks):
            return None
        entry: JsonObject = {
            "index": choice,
            "delta": delta,
            "logprobs": self._logprobs(steps),
            "finish_reason": finish,
        }
        if finish:
            entry["stop_reason"] = steps[-1].stop_reason
        entry["token_ids"] = token_ids(steps, self._request.return_token_ids)
        last = finish and not self._request.includes_usage
        tail: JsonObject = {"system_fingerprint": FINGERPRINT} if last else {}
        return self._envelope("chat.completion.chunk") | {"choices": [entry]} | tail

    def closing(self) -> list[JsonObject]:
        if not self._request.includes_usage:
            return []
        tail: JsonObject = {
            "choices": [],
            "usage": usage(self.plan, self._sampled),
            "system_fingerprint": FINGERPRINT,
        }
        return [self._envelope("chat.completion.chunk") | tail]

    def _envelope(self, kind: str) -> JsonObject:
        head = self._head
        return {
            "id": f"chatcmpl-{head.number}",
            "object": kind,
            "created": head.created,
            "model": head.model,
        }

    def _choice(self, index: int, steps: Sequence[Step]) -> JsonObject:
        text = "".join(step.text for step in steps)
        return {
            "index": index,
            "message": self._message(index, text),
            "logprobs": self._logprobs(steps),
            "finish_reason": self._finish(text, steps[-1]),
            "stop_reason": steps[-1].stop_reason,
            "token_ids": token_ids(steps, self._request.return_token_ids),
            "routed_experts": None,
        }

    def _message(self, index: int, text: str) -> JsonObject:
        message: JsonObject = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        call = written_call(text) if self.plan.call_tools else None
        if call and call.complete:
            function = {"name": call.name, "arguments": call.arguments}
            message["content"] = None if (self._request.tool_choice or "auto") == "auto" else ""
            message["tool_calls"] = [{"id": self._call_id(index), "type": "function", "function": function}]
        return message | {"reasoning": None}

    def _delta(self, choice: int, text: str) -> JsonObject:
        progress = self._progress[choice]
        progress.text += text
        if not self.plan.call_tools:
            return {"content": text} if text else {}
        call = written_call(progress.text)
        if call is None:
            return {}
        function: JsonObject = {}
        opened: JsonObject = {}
        if not progress.named:
            progress.named = True
            opened = {"id": self._call_id(choice), "type": "function"}
            function["name"] = call.name
        if grown := call.arguments[progress.arguments :]:
            progress.arguments = len(call.arguments)
            function["arguments"] = grown
        if not function:
            return {}
        return {"content": None, "tool_calls": [opened | {"index": 0, "function": function}]}

    def _finish(self, text: str, last: Step) -> str | None:
        """`tool_calls` for a whole call, but `stop` where the request named the tool, as vLLM."""
        called = self.plan.call_tools and last.finish_reason == "stop" and last.stop_reason is None
        if called and not isinstance(self._request.tool_choice, NamedChoice):
            call = written_call(text)
            return "tool_calls" if call and call.complete else "stop"
        return last.finish_reason

    def _role_chunk(self, index: int) -> JsonObject:
        entry: JsonObject = {
            "index": index,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        ids: JsonObject = {"prompt_token_ids": self._prompt_ids(), "prompt_text": None}
        return self._envelope("chat.completion.chunk") | {"choices": [entry]} | ids

    def _logprobs(self, steps: Sequence[Step]) -> JsonObject | None:
        return chat_logprobs(steps, self.plan.sampling.top) if self._request.logprobs else None

    def _prompt_ids(self) -> list[int] | None:
        return self.plan.prompts[0] if self._request.return_token_ids else None

    def _call_id(self, index: int) -> str:
        return f"chatcmpl-tool-{self._head.number}{index}"
