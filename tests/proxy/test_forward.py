"""What the agent gets, and what is recorded, when all goes well."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from rolltrace.v1 import session_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import headers
from rolltrace_store.interface import Store
from tests.proxy.answers import IDS, LOGPROBS, PROMPT, chat_answer, chat_chunks, floats, ids, token_chunk
from tests.proxy.gateway import CHAT, Gateway, gateway, put, row, with_settings
from tests.proxy.scripted import DONE, JSON, SSE, Reply, Seen, events, scripted, whole


async def test_a_whole_answer(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        async with gate.chat() as response:
            body = await response.json()
        assert response.status == 200
        assert body["choices"][0]["message"]["content"] == "answer 0"
        assert body["choices"][0]["token_ids"] is None
        trace = await gate.trace()
    assert worker.seen[0].path == "/v1/chat/completions"
    assert worker.seen[0].json()["return_token_ids"] is True
    assert trace.trace_id == response.headers["x-rolltrace-trace-id"]
    assert response.headers["x-rolltrace-session-id"] == trace.session_id == "s"
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_COMPLETED, 200)
    assert (trace.model, trace.worker_id, trace.attempt_count) == ("m", "w-1", 1)
    assert (trace.endpoint, trace.streamed) == ("chat/completions", False)
    assert trace.prompt_token_ids == ids(PROMPT)
    assert trace.completions[0].token_ids == ids(IDS)
    assert trace.completions[0].logprobs == floats(LOGPROBS)
    assert json.loads(trace.request_json) == CHAT
    assert json.loads(trace.response_json) == body
    assert not trace.capture_gaps
    assert trace.HasField("time_to_first_token")
    assert trace.latency.ToNanoseconds() >= trace.time_to_first_token.ToNanoseconds()


async def test_a_stream_comes_as_the_worker_sends_it(store: Store) -> None:
    go = asyncio.Event()
    chunks = chat_chunks()
    reply = events(*chunks[:2], go, *chunks[2:], DONE)
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=True) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            first = b""
            while b'"t0"' not in first:
                first += await response.content.readany()
            assert b'"t1"' not in first
            go.set()
            rest = await response.content.read()
        trace = await gate.trace()
    assert (first + rest).count(b"data: ") == 5
    assert rest.endswith(DONE)
    assert trace.streamed
    assert trace.status == pb.CALL_STATUS_COMPLETED
    assert trace.completions[0].token_ids == ids(IDS)
    assert trace.completions[0].logprobs == floats(LOGPROBS)
    assert not trace.capture_gaps


async def test_headers_come_before_the_first_token(store: Store) -> None:
    go = asyncio.Event()
    async with scripted(events(go, *chat_chunks(), DONE)) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=True) as response:
            assert response.status == 200
            go.set()
            assert (await response.content.read()).endswith(DONE)


async def test_every_choice_is_recorded(store: Store) -> None:
    async with scripted(whole(chat_answer(n=2))) as worker, gateway(store, worker) as gate:
        async with gate.chat(n=2) as response:
            await response.read()
        trace = await gate.trace()
    assert [c.index for c in trace.completions] == [0, 1]
    assert [c.token_ids for c in trace.completions] == [ids(IDS)] * 2


async def test_both_choices_of_a_stream_are_recorded(store: Store) -> None:
    chunks = [token_chunk(place, index) for place in range(3) for index in (1, 0)]
    async with scripted(events(*chunks, DONE)) as worker, gateway(store, worker) as gate:
        async with gate.chat(n=2, stream=True) as response:
            await response.read()
        trace = await gate.trace()
    assert [c.token_ids for c in trace.completions] == [ids(IDS)] * 2


@pytest.mark.parametrize("raw_id", ["harbor/hello-world:0", "harbor%2Fhello-world:0"])
async def test_ids_hold_slashes(store: Store, raw_id: str) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        async with gate.chat(session_id=raw_id) as response:
            assert response.headers["x-rolltrace-session-id"] == "harbor/hello-world:0"
        assert (await gate.trace("harbor/hello-world:0")).status == pb.CALL_STATUS_COMPLETED


async def test_headers_both_ways(store: Store) -> None:
    said = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Worker", "w"), ("Server", "uvicorn")]
    reply = whole(chat_answer())
    reply.headers = [*reply.headers, *said, ("Keep-Alive", "timeout=5")]
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        sent = [("Authorization", "Bearer agent"), ("X-Many", "1"), ("X-Many", "2"), ("User-Agent", "sdk")]
        hop = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Accept-Encoding", "gzip")]
        async with gate.http.post(gate.url(), data=b"{}", headers=[*sent, *hop]) as response:
            got = response.headers
    seen = worker.seen[0].headers
    assert got.getall("Set-Cookie") == ["a=1", "b=2"]
    assert (got["X-Worker"], got["Server"]) == ("w", "uvicorn")
    assert "Keep-Alive" not in got
    assert "Authorization" not in seen
    assert seen.getall("X-Many") == ["1", "2"]
    assert seen["User-Agent"] == "sdk"
    assert seen["Accept-Encoding"] == "identity"
    assert "X-Hop" not in seen
    assert seen["Host"] == worker.url.removeprefix("http://")


async def test_the_workers_key_and_api_path(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, row(worker, api_key="secret", api_path="/api/v2")) as gate:
            async with gate.http.post(
                gate.url() + "?a=%20b&c", json=CHAT, headers={"Authorization": "Bearer agent"}
            ) as response:
                assert response.status == 200
    assert worker.seen[0].path == "/api/v2/chat/completions?a=%20b&c"
    assert worker.seen[0].headers.getall("Authorization") == ["Bearer secret"]


async def test_the_sessions_sampling_and_the_gateways_model_win(store: Store) -> None:
    session = session_pb2.Session(session_id="s", labels={"task": "t"})
    session.sampling_params.update({"temperature": 0.5, "max_tokens": 7, "stop_token_ids": [2]})
    await store.write(lambda view: view.create_session(session))
    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, worker, settings=with_settings(model="served")) as gate:
            async with gate.chat(temperature=1.0) as response:
                assert response.status == 200
            trace = await gate.trace()
    sent = worker.seen[0].json()
    assert (sent["temperature"], sent["max_tokens"], sent["model"]) == (0.5, 7, "served")
    assert b'"stop_token_ids":[2]' in worker.seen[0].body
    assert trace.model == "served"
    assert dict(trace.labels) == {"task": "t"}
    assert json.loads(trace.request_json)["model"] == "m"


async def test_without_a_session_nothing_is_changed_or_recorded(store: Store) -> None:
    body, answer = b'{ "model": "m",\n "messages": [] }', b'{ "choices": [] }\n'
    reply = Reply([answer], headers=[*JSON.items(), ("Content-Length", str(len(answer)))])
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.http.post(f"{gate.proxy.url}/v1/chat/completions?x=1", data=body) as response:
            assert await response.read() == answer
    assert worker.seen[0].body == body
    assert worker.seen[0].path == "/v1/chat/completions?x=1"
    assert response.headers["Content-Length"] == str(len(answer))
    assert "x-rolltrace-trace-id" not in response.headers
    assert (await store.read(lambda view: view.log_state())).head == 1  # the worker


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD", "OPTIONS"])
async def test_other_methods_pass_through_unrecorded(store: Store, method: str) -> None:
    async with scripted(whole({"object": "list"})) as worker, gateway(store, worker) as gate:
        async with gate.http.request(method, gate.url("models")) as response:
            body = await response.read()
        assert not await gate.traces()
    assert (worker.seen[0].method, worker.seen[0].path) == (method, "/v1/models")
    assert response.headers["Content-Length"] == "18"
    assert body == (b"" if method == "HEAD" else b'{"object": "list"}')


async def test_other_endpoints_are_recorded_without_tokens(store: Store) -> None:
    answer = {"data": [{"embedding": [0.5]}]}
    async with scripted(whole(answer)) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url("embeddings"), json={"model": "m", "input": "x"}) as response:
            assert await response.json() == answer
        trace = await gate.trace()
    assert worker.seen[0].json() == {"model": "m", "input": "x"}
    assert trace.endpoint == "embeddings"
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_ENDPOINT]
    assert json.loads(trace.response_json) == answer


@pytest.mark.parametrize("path", ["embeddings", "tokenize", "messages/count_tokens"])
async def test_other_endpoints_are_passed_on_if_they_are_not_to_be_recorded(store: Store, path: str) -> None:
    settings = with_settings(record_other_calls=False)
    async with scripted(whole({"ok": 1})) as worker, gateway(store, worker, settings=settings) as gate:
        async with gate.http.post(gate.url(path), json={"model": "m"}) as response:
            assert await response.json() == {"ok": 1}
            assert headers.TRACE_ID not in response.headers
        async with gate.chat() as response:
            await response.read()
        trace = await gate.trace()
    assert trace.endpoint == "chat/completions"


async def test_a_stream_of_another_endpoint_passes_byte_for_byte(store: Store) -> None:
    pieces = [b"event: a\r\ndata: {}\r\n\r\n", b": ping\n\ndata: x\n", b"\ndata: last"]
    async with scripted(Reply(pieces, headers=list(SSE.items()))) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url("audio/speech"), json={"stream": True}) as response:
            assert await response.read() == b"".join(pieces)
        trace = await gate.trace()
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_ENDPOINT]


@pytest.mark.parametrize("path", ["chat/completions", "audio/transcriptions"])
async def test_a_body_that_is_not_json_passes_through(store: Store, path: str) -> None:
    body = bytes(range(256))
    error = {"error": {"message": "not JSON"}}
    async with scripted(whole(error, status=400)) as worker, gateway(store, worker) as gate:
        headers = {"Content-Type": "application/x-own"}
        async with gate.http.post(gate.url(path), data=body, headers=headers) as response:
            assert (response.status, await response.json()) == (400, error)
        trace = await gate.trace()
    assert worker.seen[0].body == body
    assert worker.seen[0].headers["Content-Type"] == "application/x-own"
    assert trace.request_json == body


async def test_a_request_without_a_content_type_gets_none(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url(), data=b"{}", skip_auto_headers=["Content-Type"]) as response:
            assert response.status == 200
    assert "Content-Type" not in worker.seen[0].headers


async def test_an_answer_that_is_compressed_all_the_same_passes_through(store: Store) -> None:
    body = gzip.compress(json.dumps(chat_answer()).encode())
    reply = Reply([body], headers=[*JSON.items(), ("Content-Encoding", "gzip")])
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat() as response:
            assert (await response.json())["choices"][0]["token_ids"] == IDS
        trace = await gate.trace()
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_UNREADABLE]


async def test_an_answer_of_another_type_keeps_its_timing(store: Store) -> None:
    go = asyncio.Event()
    reply = Reply([b"RIFF", go, b"data"], headers=[("Content-Type", "audio/wav")])
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url("audio/speech"), json={}) as response:
            assert await response.content.readany() == b"RIFF"
            go.set()
            assert await response.content.read() == b"data"
        trace = await gate.trace()
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_ENDPOINT]


@pytest.mark.parametrize("stream", [True, False])
async def test_errors_of_the_worker_reach_the_agent_as_they_came(store: Store, stream: bool) -> None:
    body = b'{"error":{"message":"no such model","type":"NotFoundError","param":null,"code":404}}\n'
    length = ("Content-Length", str(len(body)))
    reply = Reply([body], 404, [*JSON.items(), length, ("X-Worker", "w")], reason="Nowhere")
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=stream) as response:
            assert (response.status, response.reason) == (404, "Nowhere")
            assert response.headers["X-Worker"] == "w"
            assert await response.read() == body
        trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_UPSTREAM_ERROR, 404)
    assert trace.error.code == "upstream_status"
    assert "no such model" in trace.error.message
    assert trace.response_json == body


async def test_an_error_that_is_no_json_reaches_the_agent_too(store: Store) -> None:
    reply = Reply([b"Internal Server Error"], 500, [("Content-Type", "text/plain")])
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=True) as response:
            assert (response.status, await response.read()) == (500, b"Internal Server Error")
        assert (await gate.trace()).http_status == 500


async def test_redirects_reach_the_agent(store: Store) -> None:
    reply = Reply([], 307, [("Location", "/v1/other"), ("Content-Length", "0")])
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url(), json=CHAT, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, "/v1/other")
    assert len(worker.seen) == 1


async def test_calls_run_side_by_side(store: Store) -> None:
    all_here, count = asyncio.Event(), 0

    def reply(_: Seen) -> Reply:
        nonlocal count
        count += 1
        if count == 50:
            all_here.set()
        answer = whole(chat_answer())
        answer.before = [all_here]
        return answer

    async with scripted(reply) as worker, gateway(store, worker) as gate:

        async def call(number: int) -> str:
            async with gate.chat(session_id=f"s-{number % 5}") as response:
                await response.read()
                return response.headers["x-rolltrace-trace-id"]

        answered = await asyncio.gather(*[call(number) for number in range(50)])
        recorded = [trace.trace_id for n in range(5) for trace in await gate.traces(f"s-{n}")]
    assert sorted(recorded) == sorted(answered)


async def test_an_agent_of_http_1_0_gets_its_stream(store: Store) -> None:
    async with scripted(events(*chat_chunks(), DONE)) as worker, gateway(store, worker) as gate:
        path = gate.url().removeprefix(gate.proxy.url)
        body = json.dumps({**CHAT, "stream": True})
        answer = await said_to(gate, f"POST {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    header, _, stream = answer.partition(b"\r\n\r\n")
    assert header.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"chunked" not in header
    assert stream.endswith(DONE)


async def said_to(gate: Gateway, request: str) -> bytes:
    """All that comes back on a connection of its own."""
    host, port = gate.proxy.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_worker_registered_later_is_heard_of_at_once(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store) as gate:
        await put(store, row(worker))
        async with gate.chat() as response:
            assert response.status == 200
