"""What a request comes to: its prompts as ids, its sampling, and whether a tool must be called.

Rule for tools: with `required` or a named tool a call is forced; with `auto` the worker calls a
tool when the last message is the user's, and answers in words after a tool's result. So an agent's
loop ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rolltrace_demo.byte_tokens import VOCABULARY_SIZE, encode
from rolltrace_demo.chat_template import render
from rolltrace_demo.choice_run import Step, run_choice
from rolltrace_demo.ngram_model import NgramModel
from rolltrace_demo.openai_requests import (
    ChatRequest,
    CommonRequest,
    CompletionRequest,
    NamedChoice,
    RequestError,
    Tool,
    check_sampling,
)
from rolltrace_demo.token_sampling import Sampling
from rolltrace_demo.tool_grammar import forced_call


@dataclass(frozen=True, slots=True)
class RunPlan:
    """All that decides the tokens. Choice c answers prompt c // n."""

    prompts: tuple[list[int], ...]
    sampling: Sampling
    n: int = 1
    call_tools: tuple[Tool, ...] = ()
    user_text: str = ""

    def choices(self, model: NgramModel) -> list[Iterator[Step]]:
        """One run a choice. The seed gives every prompt of the request the same randomness."""
        return [
            run_choice(
                model,
                prompt,
                self.sampling,
                choice,
                forced_call(self.call_tools, self.user_text) if self.call_tools else None,
            )
            for prompt in self.prompts
            for choice in range(self.n)
        ]


def plan_chat(request: ChatRequest, max_model_len: int) -> RunPlan:
    top = (request.top_logprobs or 0) if request.logprobs else 0
    check_sampling(request, top)
    if not request.messages:
        raise RequestError("messages must not be empty: send at least one message.", "messages")
    prompt = encode(render(request.messages, request.tools or ()))
    asked = (request.max_completion_tokens, request.max_tokens, max_model_len)
    sampling = _sampling(request, _first(*asked), [prompt], max_model_len, top)
    last = next((m for m in reversed(request.messages) if m.role == "user"), None)
    user_text = last.text if last else ""
    return RunPlan((prompt,), sampling, request.n or 1, _tools_to_call(request), user_text)


def plan_completion(request: CompletionRequest, max_model_len: int) -> RunPlan:
    top = request.logprobs or 0
    check_sampling(request, top)
    prompts = _prompts(request.prompt)
    sampling = _sampling(request, _first(request.max_tokens, 16), prompts, max_model_len, top)
    return RunPlan(tuple(prompts), sampling, request.n or 1)


def _tools_to_call(request: ChatRequest) -> tuple[Tool, ...]:
    tools, choice = tuple(request.tools or ()), request.tool_choice or "auto"
    if isinstance(choice, NamedChoice):
        named = tuple(tool for tool in tools if tool.function.name == choice.function.name)
        if not named:
            message = f"The tool `{choice.function.name}` of tool_choice is not among the tools."
            raise RequestError(message, "tool_choice")
        return named
    if choice not in ("auto", "none", "required"):
        raise RequestError(
            f"tool_choice must be auto, none, required or a tool, got {choice}.", "tool_choice"
        )
    if choice == "required" and not tools:
        raise RequestError("tool_choice is required, but there are no tools.", "tool_choice")
    calls = choice == "required" or (choice == "auto" and request.messages[-1].role == "user")
    return tools if calls else ()


def _prompts(prompt: str | list[str | int | list[int]]) -> list[list[int]]:
    if isinstance(prompt, str):
        return [encode(prompt)]
    ids = [part for part in prompt if isinstance(part, int)]
    if ids and len(ids) == len(prompt):
        return [_checked(ids)]
    if ids or not prompt:
        raise RequestError("prompt must be a string, a list of ids, or a list of those.", "prompt")
    return [encode(p) if isinstance(p, str) else _checked(p) for p in prompt if not isinstance(p, int)]


def _checked(ids: list[int]) -> list[int]:
    for token_id in ids:
        if not 0 <= token_id < VOCABULARY_SIZE:
            raise RequestError(f"Token id {token_id} is out of vocabulary", "prompt")
    return ids


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _sampling(
    request: CommonRequest, asked: int, prompts: Sequence[list[int]], max_model_len: int, top: int
) -> Sampling:
    longest = max(map(len, prompts))
    if min(map(len, prompts)) == 0:
        raise RequestError("The prompt is empty: send at least one token.", "prompt")
    if longest >= max_model_len:
        raise RequestError(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt "
            f"contains {longest} input tokens. Please reduce the length of the input prompt. "
            f"(parameter=input_tokens, value={longest})",
            "input_tokens",
        )
    if not 1 <= asked <= max_model_len:
        raise RequestError(
            f"max_tokens={asked} must be at least 1 and cannot be greater than "
            f"max_model_len={max_model_len}. (parameter=max_tokens, value={asked})",
            "max_tokens",
        )
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Sampling(
        max_tokens=min(asked, max_model_len - longest),
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=request.seed,
        stop=tuple(text for text in stop if text),
        ignore_eos=request.ignore_eos,
        top=top,
    )
