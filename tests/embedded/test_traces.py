"""Calls to a model that lives in the trainer: what agents get, and that the traces lack nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionFunctionToolParam, ChatCompletionMessageParam

import rolltrace
from rolltrace_client import CallStatus, Session, Trace
from tests.embedded.processes import PATIENCE, until

PROMPT, IDS, LOGPROBS = [1, 2, 3], [10, 11], [-0.5, -0.25]
TOOL: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object"}},
}
CALLED = {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


class Model:
    """Answers as the last message of a request says."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.running = threading.Event()

    async def __call__(self, request: dict[str, object]) -> object:
        asked = str(request.get("prompt") or request["messages"][-1]["content"])  # type: ignore[index]  # pyright: ignore
        if asked == "fail":
            raise RuntimeError("the weights are gone")
        if asked == "refuse":
            raise rolltrace.AnswerError("too long", 400, code="context_length_exceeded")
        if asked == "pieces":
            return self.pieces()
        if asked == "wait":
            return await self.wait()
        message = {"tool_calls": [CALLED]} if request.get("tools") else None
        choices = [
            rolltrace.Sample(
                text="Hi!", message=message, token_ids=IDS, logprobs=LOGPROBS, prompt_token_ids=PROMPT
            )
        ]
        return choices * int(str(request.get("n", 1)))

    async def pieces(self) -> AsyncIterator[rolltrace.Sample]:
        yield rolltrace.Sample(text="Hi", token_ids=IDS[:1], logprobs=LOGPROBS[:1], prompt_token_ids=PROMPT)
        yield rolltrace.Sample(text="!", token_ids=IDS[1:], logprobs=LOGPROBS[1:], finish_reason="length")

    async def wait(self) -> rolltrace.Sample:
        self.running.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


@dataclass
class Rollout:
    """A session with its agent."""

    gateway: rolltrace.Gateway
    session: Session
    agent: OpenAI = field(init=False)

    def __post_init__(self) -> None:
        self.agent = OpenAI(base_url=self.gateway.base_url(self.session), api_key="unused", max_retries=0)

    def trace(self) -> Trace:
        (trace,) = self.gateway.client.list_traces(self.session.session_id)
        return trace


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def gateway(model: Model) -> Generator[rolltrace.Gateway]:
    with rolltrace.Gateway(handler=model) as gateway:
        yield gateway


@pytest.fixture
def rollout(gateway: rolltrace.Gateway) -> Generator[Rollout]:
    rollout = Rollout(gateway, gateway.client.create_session())
    with rollout.agent:
        yield rollout


def check_complete(trace: Trace, choices: int = 1) -> None:
    assert (trace.status, trace.capture_gaps) == (CallStatus.COMPLETED, [])
    assert trace.prompt_token_ids.tolist() == PROMPT
    assert len(trace.completions) == choices
    for completion in trace.completions:
        assert completion.token_ids.tolist() == IDS
        assert completion.logprobs.tolist() == LOGPROBS


@pytest.mark.parametrize(("said", "n"), [("hello", 1), ("hello", 2), ("pieces", 1)])
def test_a_whole_answer(rollout: Rollout, said: str, n: int) -> None:
    answer = rollout.agent.chat.completions.create(
        model="m", messages=[{"role": "user", "content": said}], n=n
    )
    assert [choice.message.content for choice in answer.choices] == ["Hi!"] * n
    assert answer.usage is not None
    assert "prompt_token_ids" not in answer.model_dump(exclude_none=True)
    check_complete(rollout.trace(), n)


@pytest.mark.parametrize("said", ["hello", "pieces"])
def test_a_stream(rollout: Rollout, said: str) -> None:
    chunks = list(
        rollout.agent.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": said}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hi!"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 2)
    check_complete(rollout.trace())
    assert rollout.trace().completions[0].finish_reason == ("length" if said == "pieces" else "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion(rollout: Rollout, stream: bool) -> None:
    answer = rollout.agent.completions.create(model="m", prompt="hello", stream=stream)
    texts = answer.choices[0].text if not isinstance(answer, openai.Stream) else _texts(answer)
    assert texts == "Hi!"
    check_complete(rollout.trace())


def _texts(stream: openai.Stream[openai.types.Completion]) -> str:
    return "".join(chunk.choices[0].text for chunk in stream)


@pytest.mark.parametrize("stream", [False, True])
def test_tools(rollout: Rollout, stream: bool) -> None:
    asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": "1+2"}]
    completions = rollout.agent.chat.completions
    if stream:
        with completions.stream(model="m", messages=asked, tools=[TOOL]) as events:
            answer: ChatCompletion = events.get_final_completion()
    else:
        answer = completions.create(model="m", messages=asked, tools=[TOOL])
    assert answer.choices[0].finish_reason == "tool_calls"
    (called,) = answer.choices[0].message.tool_calls or []
    assert called.type == "function"
    assert (called.id, called.function.name, called.function.arguments) == ("call-1", "add", '{"a": 1}')
    check_complete(rollout.trace())


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [("fail", 500, "RuntimeError: the weights are gone"), ("refuse", 400, "too long")],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error(rollout: Rollout, said: str, status: int, words: str, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError, match=words) as raised:
        rollout.agent.chat.completions.create(
            model="m", messages=[{"role": "user", "content": said}], stream=stream
        )
    assert raised.value.status_code == status
    trace = rollout.trace()
    assert (trace.status, trace.http_status) == (CallStatus.UPSTREAM_ERROR, status)
    assert trace.error is not None
    assert words in trace.error.message


def test_an_agent_that_hangs_up(rollout: Rollout, model: Model) -> None:
    with pytest.raises(openai.APITimeoutError):
        rollout.agent.with_options(timeout=2.0).chat.completions.create(
            model="m", messages=[{"role": "user", "content": "wait"}]
        )
    assert model.running.is_set()
    assert model.cancelled.wait(PATIENCE)
    until(lambda: len(list(rollout.gateway.client.list_traces(rollout.session.session_id))) == 1, "no trace")
    assert rollout.trace().status == CallStatus.CLIENT_CANCELLED


def test_the_model_is_a_worker_like_others(gateway: rolltrace.Gateway) -> None:
    (worker,) = gateway.client.list_workers()
    assert (worker.worker_id, worker.engine) == ("trainer", "vllm")
    until(lambda: next(gateway.client.list_workers()).detected_engine == "vllm", "it does not say what it is")
