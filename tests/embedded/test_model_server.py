"""A handler behind HTTP: what a gateway, or anybody who asks as it does, gets from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from rolltrace_embedded import AnswerError, Sample
from rolltrace_embedded.model_server import Handler, ModelServer

CHAT = "/v1/chat/completions"
ASKED: dict[str, object] = {"model": "m", "messages": [], "return_token_ids": True, "logprobs": True}
STREAMED = ASKED | {"stream": True}
PATIENCE = 20.0


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[aiohttp.ClientSession]:
    server = ModelServer(handler, "m")
    async with aiohttp.ClientSession(await server.start()) as session:
        yield session
    await server.close()


async def answer_to(handler: Handler, asked: dict[str, object]) -> tuple[int, str]:
    async with serving(handler) as session, session.post(CHAT, json=asked) as answer:
        return answer.status, await answer.text()


async def hello(request: dict[str, object]) -> Sample:
    return Sample(text="Hi", token_ids=[5], logprobs=[-1.0], prompt_token_ids=[1])


async def pieces(request: dict[str, object]) -> AsyncIterator[Sample]:
    yield Sample(text="H", token_ids=[5], logprobs=[-1.0], prompt_token_ids=[1])
    yield Sample(text="i", token_ids=[6], logprobs=[-2.0])


async def an_iterator(request: dict[str, object]) -> AsyncIterator[Sample]:
    return pieces(request)


async def test_it_says_what_it_is() -> None:
    async with serving(hello) as session:
        async with session.get("/health") as health:
            assert health.status == 200
        async with session.get("/v1/models") as models:
            (model,) = (await models.json())["data"]
            assert (model["id"], model["owned_by"]) == ("m", "vllm")
        async with session.post("/v1/embeddings", json={}) as other:
            assert other.status == 404
            assert (await other.json())["error"]["message"].startswith("the trainer's model answers")


@pytest.mark.parametrize("handler", [hello, pieces, an_iterator])
async def test_whatever_it_gives_the_call_gets_what_it_asked_for(handler: Handler) -> None:
    async with serving(handler) as session:
        async with session.post(CHAT, json=ASKED) as answer:
            body = await answer.json()
            assert body["object"] == "chat.completion"
            assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}
            assert body["usage"]["prompt_tokens"] == 1
        async with session.post(CHAT, json=STREAMED) as answer:
            assert answer.content_type == "text/event-stream"
            text = await answer.text()
    assert text.endswith("data: [DONE]\n\n")
    assert text.count('"role":"assistant"') == 1
    assert '"finish_reason":"stop"' in text


async def test_pieces_come_as_they_are_given() -> None:
    go_on = asyncio.Event()

    async def slow(request: dict[str, object]) -> AsyncIterator[Sample]:
        yield Sample(text="first")
        await go_on.wait()
        yield Sample(text="second")

    async with serving(slow) as session, session.post(CHAT, json=STREAMED) as answer:
        assert b"first" in await asyncio.wait_for(answer.content.readline(), PATIENCE)
        go_on.set()
        assert b"second" in await answer.content.read()


async def fails(request: dict[str, object]) -> Sample:
    raise KeyError("no such weights")


async def loses_its_engine(request: dict[str, object]) -> Sample:
    raise ConnectionResetError("the engine has gone")


async def awaits_what_is_cancelled(request: dict[str, object]) -> Sample:
    lost = asyncio.get_running_loop().create_future()
    lost.cancel()
    await lost
    raise AssertionError


async def gives_nonsense(request: dict[str, object]) -> object:
    return "text"


async def gives_what_is_no_json(request: dict[str, object]) -> object:
    return {"choices": [{"message": {"content": object()}}]}


async def gives_nothing(request: dict[str, object]) -> AsyncIterator[Sample]:
    for sample in list[Sample]():
        yield sample


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (fails, "KeyError: 'no such weights'"),
        (loses_its_engine, "ConnectionError: the engine has gone"),
        (awaits_what_is_cancelled, "RuntimeError: it awaited what was cancelled"),
        (gives_nonsense, "TypeError: the handler gave str; give"),
        (gives_what_is_no_json, "TypeError: Encoding objects of type object"),
        (gives_nothing, "TypeError: the handler gave no piece"),
    ],
)
@pytest.mark.parametrize("asked", [ASKED, STREAMED])
async def test_what_fails_is_an_error_of_the_server_and_logged(
    handler: Handler, words: str, asked: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    status, text = await answer_to(handler, asked)
    assert status == 500
    assert words in text
    assert '"type":"server_error"' in text
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "the handler failed"
    ]


async def test_a_stream_that_fails_says_so_in_its_own_way() -> None:
    async def breaks(request: dict[str, object]) -> AsyncIterator[Sample]:
        yield Sample(text="Hi")
        raise ValueError("out of memory")

    status, text = await answer_to(breaks, STREAMED)
    assert status == 200
    first, second, third, rest = text.split("\n\n")
    assert "Hi" in first
    assert '{"error":{"message":"ValueError: out of memory"' in second
    assert (third, rest) == ("data: [DONE]", "")


async def test_a_handler_may_refuse(caplog: pytest.LogCaptureFixture) -> None:
    async def refuses(request: dict[str, object]) -> Sample:
        raise AnswerError("9000 tokens, 8192 fit", 400, code="context_length_exceeded")

    status, text = await answer_to(refuses, ASKED)
    assert status == 400
    assert '"type":"invalid_request_error"' in text
    assert '"code":"context_length_exceeded"' in text
    assert not caplog.records


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_agent_that_hangs_up_cancels_the_handler(streamed: bool) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(request: dict[str, object]) -> AsyncIterator[Sample]:
        try:
            begun.set()
            while True:
                yield Sample(text="more")
                await asyncio.sleep(0.01 if streamed else 60)
        finally:
            ended.set()

    async with serving(endless) as session:
        asking = asyncio.create_task(session.post(CHAT, json=STREAMED if streamed else ASKED))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        if streamed:
            (await asking).close()
        else:
            asking.cancel()
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_a_request_that_is_no_json_is_refused() -> None:
    async with serving(hello) as session, session.post(CHAT, data=b"{") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["message"].startswith("the request is not JSON")
