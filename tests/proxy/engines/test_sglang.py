"""Calls to a worker with SGLang's grammar: captured, and seen by the agent as the worker would answer."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_proxy import gaps
from rolltrace_proxy.engines.sglang import SGLANG
from rolltrace_store.interface import Store
from tests.proxy.answers import floats, ids
from tests.proxy.engines.fake_sglang import CALL, EXPERTS, SAID, FakeSglang, Token, prompt_of, sglang
from tests.proxy.gateway import Gateway, gateway

Json = dict[str, Any]
CHAT: Json = {"model": "sgl", "messages": [{"role": "user", "content": "hi there"}]}
TEXT: Json = {"model": "sgl", "prompt": "once"}
STREAM: Json = {"stream": True, "stream_options": {"include_usage": True}}
TOOLS: Json = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}]}


def row(fake: FakeSglang, engine: str = "sglang") -> Worker:
    return Worker(worker_id="w-1", url=fake.url, engine=engine)


async def answered(http: aiohttp.ClientSession, url: str, body: Json) -> tuple[int, list[object]]:
    """The status, and the JSON of the body or of all events."""
    async with http.post(url, json=body) as response:
        said = await response.text()
    events = said.removeprefix("data: ").split("\n\ndata: ")
    return response.status, [event if event.startswith("[DONE]") else json.loads(event) for event in events]


async def both(gate: Gateway, fake: FakeSglang, path: str, body: Json) -> pb.Trace:
    """The trace of a call, whose answer is what the worker gives when it is asked directly."""
    direct = await answered(gate.http, f"{fake.url}/v1/{path}", body)
    assert await answered(gate.http, gate.url(path), body) == direct
    return await gate.trace()


def check(trace: pb.Trace, body: Json, *said: tuple[Token, ...]) -> None:
    assert list(trace.capture_gaps) == []
    assert trace.prompt_token_ids == ids(prompt_of(body))
    assert len(trace.completions) == len(said)
    for completion, tokens in zip(trace.completions, said, strict=True):
        assert completion.token_ids == ids([token.id for token in tokens])
        assert completion.logprobs == floats([token.logprob for token in tokens])


@pytest.mark.parametrize("more", [{}, STREAM, {"stream": True}], ids=["whole", "stream", "stream alone"])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("path", "body"), [("chat/completions", CHAT), ("completions", TEXT)])
async def test_a_call_is_captured_and_the_agent_sees_none_of_it(
    store: Store, path: str, body: Json, n: int, more: Json
) -> None:
    async with sglang() as fake, gateway(store, row(fake)) as gate:
        body = body | more | ({"n": n} if n > 1 else {})
        trace = await both(gate, fake, path, body)
        check(trace, body, *[SAID] * n)
        assert trace.completions[0].finish_reason == "stop"


@pytest.mark.parametrize("more", [{}, STREAM], ids=["whole", "stream"])
async def test_tool_calls_have_all_their_tokens(store: Store, more: Json) -> None:
    async with sglang() as fake, gateway(store, row(fake)) as gate:
        body = CHAT | TOOLS | more
        trace = await both(gate, fake, "chat/completions", body)
        check(trace, body, CALL)
        message = json.loads(trace.completions[0].message_json)
        assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
        assert trace.completions[0].finish_reason == "tool_calls"


OWN = [
    {"logprobs": True},
    {"return_output_ids_in_sglext": True},
    {"return_input_ids_in_sglext": True, "logprobs": True},
    {"return_routed_experts": True},
    {"return_input_ids_in_sglext": True, "return_output_ids_in_sglext": True, "logprobs": True},
]


@pytest.mark.parametrize("more", [{}, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("own", OWN, ids=[" ".join(own) for own in OWN])
async def test_what_the_agent_asked_for_itself_it_gets(store: Store, own: Json, more: Json) -> None:
    async with sglang() as fake, gateway(store, row(fake)) as gate:
        body = CHAT | own | more
        check(await both(gate, fake, "chat/completions", body), body, SAID)


@pytest.mark.parametrize("more", [{}, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("own", [{"return_token_ids": True}, {"logprobs": 3}, {"logprobs": 3, "echo": True}])
async def test_completions_give_what_was_asked_for(store: Store, own: Json, more: Json) -> None:
    async with sglang() as fake, gateway(store, row(fake)) as gate:
        body = TEXT | own | more
        check(await both(gate, fake, "completions", body), body, SAID)


async def test_without_a_parser_a_streams_logprobs_do_not_fit_and_are_left_out(store: Store) -> None:
    async with sglang(FakeSglang(parser=False)) as fake, gateway(store, row(fake)) as gate:
        trace = await both(gate, fake, "chat/completions", CHAT | STREAM)
        (completion,) = trace.completions
        assert completion.token_ids == ids([token.id for token in SAID])
        assert completion.logprobs == b""
        (gap,) = trace.capture_gaps
        assert (gap.kind, gap.completion_index) == (gaps.MISMATCH, 0)
        assert gap.message == "5 ids came with 3 log-probabilities"


async def test_a_stream_that_breaks_off_has_no_ids_and_says_so(store: Store) -> None:
    async with sglang(FakeSglang(stop_after=3)) as fake, gateway(store, row(fake)) as gate:
        with pytest.raises(aiohttp.ClientError):
            async with gate.http.post(gate.url(), json=CHAT | STREAM) as response:
                await response.read()
        trace = await gate.trace()
        assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR
        assert [completion.logprobs for completion in trace.completions] == [b""]
        assert [gap.kind for gap in trace.capture_gaps] == [gaps.PROMPT_TOKEN_IDS, gaps.TOKEN_IDS]


NOBODY: Json = {"messages": []}
MISTAKES: list[tuple[str, Json, str]] = [
    ("chat/completions", CHAT | {"stream": True, "return_token_ids": True}, "not supported with streaming"),
    ("chat/completions", CHAT | NOBODY, "Messages cannot be empty"),
    ("completions", TEXT | {"prompt": ""}, "Prompt cannot be empty"),
]


@pytest.mark.parametrize(("path", "body", "said"), MISTAKES)
async def test_a_mistake_of_the_agents_is_refused_by_the_worker(
    store: Store, path: str, body: Json, said: str
) -> None:
    async with sglang() as fake, gateway(store, row(fake)) as gate:
        trace = await both(gate, fake, path, body)
        assert (trace.status, trace.http_status) == (pb.CALL_STATUS_UPSTREAM_ERROR, 400)
        assert said in trace.error.message


@pytest.mark.parametrize(("told", "kept"), [("default", ""), ("step-7", "step-7")])
async def test_the_version_that_the_worker_reports_is_the_calls(store: Store, told: str, kept: str) -> None:
    async with sglang(FakeSglang(weight_version=told)) as fake, gateway(store, row(fake)) as gate:
        trace = await both(gate, fake, "chat/completions", CHAT)
        assert trace.policy_version == kept
        assert list(trace.completions[0].version_spans) == []


async def test_versions_that_change_on_the_way_are_spans(store: Store) -> None:
    spans: list[Json] = [{"version": "1", "start": 0, "end": 2}, {"version": "2", "start": 2, "end": 5}]
    fake = FakeSglang(weight_version="2", spans=spans)
    async with sglang(fake), gateway(store, row(fake)) as gate:
        trace = await both(gate, fake, "chat/completions", CHAT)
        told = [pb.VersionSpan(version="1", start=0, end=2), pb.VersionSpan(version="2", start=2, end=5)]
        assert list(trace.completions[0].version_spans) == told
        assert trace.policy_version == "2"


@pytest.mark.parametrize(
    ("path", "body"), [("chat/completions", CHAT), ("chat/completions", CHAT | STREAM), ("completions", TEXT)]
)
async def test_routed_experts_are_kept_as_an_array(store: Store, path: str, body: Json) -> None:
    async with sglang() as fake, gateway(store, row(fake)) as gate:
        trace = await both(gate, fake, path, body | {"return_routed_experts": True})
        experts = trace.completions[0].routed_experts
        assert (experts.dtype, list(experts.shape)) == ("<i4", [2])
        digest = experts.blob.digest
        assert await store.read(lambda view: view.has_blob(digest))
        assert experts.blob.size == len(EXPERTS)


async def test_what_is_not_known_of_a_worker_is_taken_from_what_was_detected(store: Store) -> None:
    async with sglang() as fake:
        worker = row(fake, "")
        worker.detected_engine = "sglang"
        async with gateway(store, worker) as gate:
            check(await both(gate, fake, "chat/completions", CHAT), CHAT, SAID)


def test_a_command_for_everything_that_can_be_told_to_it() -> None:
    controls = SGLANG.controls
    assert set(controls.pause) == {"abort", "keep"}
    assert controls.version is not None
    assert controls.version.path == "/model_info"
