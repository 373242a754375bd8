"""Workers that answer as none should, to calls that are translated: of every dialect."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.sse import MAX_EVENT_BYTES
from rolltrace_settings.settings import Settings
from rolltrace_store.errors import StoreFullError
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_answer, role_chunk, token_chunk
from tests.proxy.gateway import SETTINGS, HeldStore, gateway, with_settings
from tests.proxy.scripted import DONE, JSON, SSE, Reply, events, scripted, whole

Json = dict[str, Any]

BODIES: dict[str, Json] = {
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "m", "input": "hi"},
}
LAST = {"messages": b"message_stop", "responses": b"response.completed"}
END: Json = {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
FAILED: Json = {"error": {"message": "out of memory", "code": 500}}
each_dialect = pytest.mark.parametrize("endpoint", BODIES)


async def ask(
    store: Store, endpoint: str, reply: Reply, settings: Settings = SETTINGS, **more: object
) -> tuple[int, bytes, pb.Trace]:
    """What the agent got, and the trace."""
    async with scripted(reply) as worker, gateway(store, worker, settings=settings) as gate:
        async with gate.http.post(gate.url(endpoint), json={**BODIES[endpoint], **more}) as answer:
            got = await answer.read()
        return answer.status, got, await gate.trace()


@each_dialect
async def test_an_answer_too_large_to_be_held_back_is_an_error(store: Store, endpoint: str) -> None:
    """It would reach the agent as a chat completion."""
    reply = whole(chat_answer())
    status, got, trace = await ask(store, endpoint, reply, with_settings(max_answer_size=100))
    assert status == 502
    assert "max-answer-size" in json.loads(got)["error"]["message"]
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_UPSTREAM_ERROR, 502)
    assert trace.error.code == "untranslatable_answer"
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_TOO_LARGE]


@each_dialect
async def test_a_compressed_answer_is_an_error(store: Store, endpoint: str) -> None:
    body = gzip.compress(json.dumps(chat_answer()).encode())
    reply = Reply([body], headers=[*JSON.items(), ("Content-Encoding", "gzip")])
    status, got, trace = await ask(store, endpoint, reply)
    assert status == 502
    assert "compressed" in json.loads(got)["error"]["message"]
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR


@each_dialect
async def test_an_event_without_end_breaks_off_and_is_recorded(store: Store, endpoint: str) -> None:
    piece = b"x" * (MAX_EVENT_BYTES // 4 + 1)
    steps = (b'data: {"choices":[{"index":0,"delta":{"content":"', *[piece] * 10)
    reply = Reply(steps, headers=list(SSE.items()))
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url(endpoint), json={**BODIES[endpoint], "stream": True}) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        trace = await gate.trace()
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_UPSTREAM_ERROR, "untranslatable_answer")
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_TOO_LARGE]


@each_dialect
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_no_json_but_can_be_mended_is_translated(
    store: Store, endpoint: str, streamed: bool
) -> None:
    """Python's own writer makes NaN of a log-probability that is none."""
    odd = {**token_chunk(0), "extra": float("nan")}
    reply = events(role_chunk(), odd, END, DONE) if streamed else whole({**chat_answer(), "x": float("nan")})
    status, got, trace = await ask(store, endpoint, reply, stream=streamed)
    assert status == 200
    assert trace.completions[0].token_ids
    said = json.loads(trace.response_json)
    assert "choices" not in said
    texts = [part.get("text") for item in said.get("output", [said]) for part in item["content"]]
    assert "".join(texts) == json.loads(trace.completions[0].message_json)["content"]
    assert texts[0].encode() in got


@each_dialect
async def test_nothing_is_said_after_the_end(store: Store, endpoint: str) -> None:
    late = token_chunk(1)
    _, got, trace = await ask(store, endpoint, events(token_chunk(0), END, DONE, late), stream=True)
    assert b"t1" not in got + trace.response_json
    assert LAST[endpoint] in got
    assert len(trace.completions[0].token_ids) == 4


@each_dialect
async def test_comments_go_on_and_other_events_without_data_do_not(store: Store, endpoint: str) -> None:
    """SDKs would read data in them."""
    steps = (b": still here\n\n", b"retry: 5\n\n", b"event: ping\n\n", token_chunk(0), END, DONE)
    _, got, _ = await ask(store, endpoint, events(*steps), stream=True)
    assert got.startswith(b": still here\n")
    assert b"retry" not in got
    assert b"event: ping" not in got


@each_dialect
@pytest.mark.parametrize("last", [FAILED, END, None], ids=["error", "finish", "nothing"])
@pytest.mark.parametrize("done", [b"", DONE], ids=["without done", "done"])
async def test_the_last_event_waits_for_the_record(
    store: Store, endpoint: str, last: Json | None, done: bytes
) -> None:
    held = HeldStore(store)
    said = [token_chunk(0)] if last is None else [token_chunk(0), last]
    async with scripted(events(*said, done)) as worker, gateway(held.as_store(), worker) as gate:
        async with gate.http.post(gate.url(endpoint), json={**BODIES[endpoint], "stream": True}) as answer:
            await held.reached.wait()
            before = bytearray()
            with suppress(TimeoutError):  # there must be no end
                async with asyncio.timeout(0.5):
                    async for piece in answer.content.iter_any():
                        before += piece
            held.gate.set()
            after = await answer.read()
        trace = await gate.trace()
    assert b'"t0"' in before
    for end in (b"error\n", b"response.failed", b"response.incomplete", LAST[endpoint]):
        assert b"event: %b" % end not in before
    assert after
    assert (trace.status == pb.CALL_STATUS_UPSTREAM_ERROR) is (last is FAILED)


@each_dialect
async def test_an_answer_in_one_piece_to_a_call_that_is_to_be_streamed(store: Store, endpoint: str) -> None:
    status, got, trace = await ask(store, endpoint, whole(chat_answer()), stream=True)
    assert (status, trace.status) == (200, pb.CALL_STATUS_COMPLETED)
    assert got == trace.response_json
    assert "choices" not in json.loads(got)


@each_dialect
@pytest.mark.parametrize("reply", [whole(chat_answer()), whole(FAILED, 500)], ids=["answer", "error"])
async def test_what_cannot_be_recorded_is_an_error_with_a_status(
    store: Store, endpoint: str, reply: Reply
) -> None:
    held = HeldStore(store)
    held.error = StoreFullError("no room")
    held.gate.set()
    async with scripted(reply) as worker, gateway(held.as_store(), worker) as gate:
        async with gate.http.post(gate.url(endpoint), json=BODIES[endpoint]) as answer:
            assert answer.status == 507
            assert "no room" in (await answer.json())["error"]["message"]
