"""The worker as a gateway or an agent sees it: over HTTP, streaming and not, and through the SDK."""

import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from rolltrace_demo.__main__ import main
from rolltrace_demo.byte_tokens import IM_END, decode
from rolltrace_demo.worker_server import DemoWorker
from tests.demo.worker_client import (
    WEATHER,
    Json,
    WorkerClient,
    connected,
    join_chat,
    logprobs,
    say,
)

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"

REQUESTS: dict[str, Json] = {
    "one choice": say("Hello."),
    "three choices": say("Hello.", n=3),
    "top log-probabilities": say("Hello.", top_logprobs=3),
    "a stop string": say("Hello.", stop=["e ", "the"]),
    "hot": say("Hello.", temperature=1.4, top_p=0.9, max_tokens=120),
    "a tool": say("Weather in Paris?", tools=[WEATHER]),
    "a tool cut short": say("Weather in Paris?", tools=[WEATHER], max_tokens=50),
    "words after a tool": {
        **say("Weather in Paris?", tools=[WEATHER]),
        "messages": [
            {"role": "user", "content": "Weather in Paris?"},
            {"role": "tool", "content": "21 °C", "tool_call_id": "c"},
        ],
    },
}


@pytest.mark.parametrize("interval", [1, 4])
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_stream_joins_to_the_whole_answer(name: str, interval: int) -> None:
    asked = REQUESTS[name] | {"seed": 11}
    async with connected(DemoWorker(stream_interval=interval)) as client:
        whole, chunks = await client.chat(asked), await client.stream(CHAT, asked)
    joined = join_chat(chunks)
    assert len(joined) == len(whole["choices"])
    for choice in whole["choices"]:
        streamed, message = joined[choice["index"]], choice["message"]
        assert streamed.ids == choice["token_ids"]
        assert streamed.logprobs == logprobs(choice)
        assert len(streamed.ids) == len(streamed.logprobs)
        assert streamed.finish_reason == choice["finish_reason"]
        if "tool_calls" in message:
            assert streamed.arguments == message["tool_calls"][0]["function"]["arguments"]
            assert streamed.text == ""
        elif "cut" not in name:
            assert streamed.text == message["content"]


async def test_a_completions_stream_joins_to_the_whole_answer(client: WorkerClient) -> None:
    asked: Json = {"prompt": ["The ", list(b"An ")], "n": 2, "seed": 5, "max_tokens": 30}
    asked |= {"logprobs": 2, "return_token_ids": True, "stop": "e w"}
    whole, chunks = await client.completion(asked), await client.stream(COMPLETION, asked)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    for choice in whole["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [t for part in parts for t in part["token_ids"]] == choice["token_ids"]
        for name, values in choice["logprobs"].items():
            assert [v for part in parts for v in part["logprobs"][name]] == values
        assert parts[0]["prompt_token_ids"] == choice["prompt_token_ids"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]


async def test_top_log_probabilities_of_everything_sum_to_at_most_one(client: WorkerClient) -> None:
    answer = await client.chat(say("Hi.", top_logprobs=20, temperature=0, max_tokens=20))
    for entry in answer["choices"][0]["logprobs"]["content"]:
        tops = [top["logprob"] for top in entry["top_logprobs"]]
        assert sum(2.718281828459045**top for top in tops) <= 1.0 + 1e-9
        assert tops == sorted(tops, reverse=True)
        assert entry["logprob"] == tops[0]


async def test_a_seed_repeats_and_no_seed_does_not(client: WorkerClient) -> None:
    async def ids(**fields: object) -> list[list[int]]:
        answer = await client.chat(say("Hello.", n=2, max_tokens=60, **fields))
        return [choice["token_ids"] for choice in answer["choices"]]

    first, again = await ids(seed=3), await ids(seed=3)
    assert first == again
    assert first[0] != first[1]
    assert len({str(await ids()) for _ in range(3)}) > 1


async def test_each_turn_extends_the_last_through_a_tool_loop(client: WorkerClient) -> None:
    """Ten turns, tool calls and words, with what came back sent on verbatim."""
    messages: list[Json] = [{"role": "system", "content": "Be brief. °"}]
    known: list[int] = []
    for turn in range(10):
        if turn % 2 == 0:
            messages.append({"role": "user", "content": f"Weather in Paris, question {turn}?"})
        answer = await client.chat(
            {"messages": messages, "tools": [WEATHER], "seed": turn, "return_token_ids": True}
        )
        prompt, choice = answer["prompt_token_ids"], answer["choices"][0]
        assert prompt[: len(known)] == known
        assert choice["token_ids"][-1] == IM_END
        known = prompt + choice["token_ids"]
        messages.append(choice["message"])
        assert choice["finish_reason"] == ("stop" if turn % 2 else "tool_calls")
        for call in choice["message"].get("tool_calls", ()):
            result: Json = {"role": "tool", "tool_call_id": call["id"], "content": "21 °C"}
            messages.append(result)


async def test_usage_counts_every_id(client: WorkerClient) -> None:
    asked = say("Hello.", n=2, seed=1, stream_options={"include_usage": True})
    whole, chunks = await client.chat(asked), await client.stream(CHAT, asked)
    sampled = sum(len(choice["token_ids"]) for choice in whole["choices"])
    for usage in (whole["usage"], chunks[-1]["usage"]):
        assert usage["prompt_tokens"] == len(whole["prompt_token_ids"])
        assert usage["completion_tokens"] == sampled
    assert chunks[-1]["choices"] == []
    assert not any(chunk.get("usage") for chunk in chunks[:-1])


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hang_up_stops_the_generation(stream: bool) -> None:
    asked = say("Hello.", stream=stream, ignore_eos=True)
    async with connected(DemoWorker(token_delay=0.001)) as client, asyncio.timeout(30):
        async with aiohttp.ClientSession(client.url) as leaving:
            call = asyncio.ensure_future(leaving.post(CHAT, json=asked))
            sampling = await client.state_where(lambda state: state["sampled_tokens"] >= 5)
            assert sampling["running"] == 1
            call.cancel()
            if call.done():
                call.result().close()
        left = await client.state_where(lambda state: state["aborted"] == 1)
        assert (left["running"], left["finished"]) == (0, 0)
        await asyncio.sleep(0.05)
        assert await client.state() == left


async def test_a_client_that_goes_between_two_steps_is_nothing_to_log(
    client: WorkerClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(*_: object) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "write_eof", gone)
    with pytest.raises(aiohttp.ClientError):
        await client.stream(CHAT, say("Hello."))
    assert not caplog.records
    monkeypatch.undo()
    assert (await client.state())["aborted"] == 1


async def test_stopping_the_worker_ends_a_stream_in_the_middle() -> None:
    worker = DemoWorker(token_delay=0.001)
    async with worker, aiohttp.ClientSession(worker.url) as session:
        body = say("Hello.", stream=True, ignore_eos=True)
        async with session.post(CHAT, json=body) as response:
            await response.content.readany()
            await worker.stop()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_keep_alive_comments_come_in_a_silence() -> None:
    body = say("Hello.", stream=True, max_tokens=2)
    async with (
        connected(DemoWorker(token_delay=0.03, keep_alive=0.01)) as client,
        client.session.post(CHAT, json=body) as response,
    ):
        text = await response.text()
    assert ": keep-alive\n\n" in text
    assert text.endswith("data: [DONE]\n\n")


async def test_an_api_key_guards_v1_alone() -> None:
    async with DemoWorker(api_key="k") as worker, aiohttp.ClientSession(worker.url) as session:
        async with session.get("/v1/models") as refused:
            assert (refused.status, await refused.json()) == (401, {"error": "Unauthorized"})
        async with session.get("/v1/models", headers={"Authorization": "Bearer k"}) as allowed:
            assert allowed.status == 200
        async with session.get("/health") as health:
            assert health.status == 200


@pytest.fixture
async def openai(worker: DemoWorker) -> Any:
    async with AsyncOpenAI(base_url=f"{worker.url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


async def test_the_sdk_reads_an_answer(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "Hi."}], logprobs=True, seed=1
    )
    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    named = "".join(entry.token for entry in choice.logprobs.content)
    assert named == f"{choice.message.content}<|im_end|>"
    completion = await openai.completions.create(model="demo", prompt="The ", max_tokens=3)
    assert len(completion.choices[0].text) == 3
    assert [model.id async for model in openai.models.list()] == ["demo"]


async def test_the_sdk_reads_a_stream_with_ids(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Hi."}],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"return_token_ids": True},
    )
    text, ids, usage = "", list[int](), None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            ids += (choice.model_extra or {}).get("token_ids") or []
    assert decode(ids) == f"{text}<|im_end|>"
    assert usage is not None
    assert usage.completion_tokens == len(ids)


async def test_the_sdk_assembles_a_streamed_tool_call(openai: AsyncOpenAI) -> None:
    tool: Any = WEATHER
    async with openai.chat.completions.stream(
        model="demo",
        messages=[{"role": "user", "content": "Weather in Paris?"}],
        tools=[tool],
    ) as stream:
        answer = await stream.get_final_completion()
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    function = choice.message.tool_calls[0].function
    assert function.name == "get_weather"
    assert json.loads(function.arguments)["city"] == "Paris"


def test_a_taken_port_is_told_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["worker", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in error
    assert "--port" in error


async def test_the_command_serves_and_stops_on_a_signal() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rolltrace_demo", "worker", "--port", "0", "--model", "m"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        url = line.split(" at ")[1].strip()
        async with aiohttp.ClientSession() as session, session.get(f"{url}/models") as response:
            assert (await response.json())["data"][0]["id"] == "m"
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
