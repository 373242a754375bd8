"""What vLLM gives or hides besides the usual: reasoning that is not wanted, routed experts, versions."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.engines.vllm import VLLM
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.whole_answer import read_whole_answer
from rolltrace_store.interface import Store
from tests.proxy.answers import IDS, chat_answer, chat_chunks, ids
from tests.proxy.gateway import gateway
from tests.proxy.samples import read_stream
from tests.proxy.scripted import scripted, whole

Json = dict[str, Any]
HIDDEN: Json = {"messages": [], "include_reasoning": False}


def planned(**fields: object) -> Rewrite:
    return rewrite("chat/completions", json.dumps(HIDDEN | fields).encode(), enforced={}, model="")


def test_hidden_reasoning_is_asked_for_since_its_tokens_are_hidden_with_it() -> None:
    plan = planned()
    wanted: Json = {"messages": [], "include_reasoning": True, "return_token_ids": True, "logprobs": True}
    assert json.loads(plan.body) == wanted
    assert plan.unasked == ""


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"logprobs": True}, "hides the tokens that the agent asked for too"),
        ({"return_token_ids": True}, "hides the tokens that the agent asked for too"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"structured_outputs": {"choice": ["a"]}}, "structured_outputs"),
    ],
)
def test_hidden_reasoning_stays_hidden_where_more_would_change(own: Json, why: str) -> None:
    plan = planned(**own)
    assert json.loads(plan.body)["include_reasoning"] is False
    assert why in plan.unasked


@pytest.mark.parametrize("own", [{"response_format": {"type": "text"}}, {"tool_choice": "auto"}])
def test_hidden_reasoning_is_asked_for_where_the_output_is_free(own: Json) -> None:
    plan = rewrite("chat/completions", _compact(HIDDEN | own), enforced={}, model="")
    assert json.loads(plan.body)["include_reasoning"] is True


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def test_hidden_reasoning_is_taken_out_of_a_whole_answer() -> None:
    answer = chat_answer()
    choice = answer["choices"][0]  # type: ignore[index]  # JSON
    message = choice["message"] = {"role": "assistant", "content": "x", "reasoning": "hm"}
    body, captured = read_whole_answer(planned(), 200, _compact(answer))
    seen = json.loads(body)
    assert seen["choices"][0]["message"] == message | {"reasoning": None}
    assert (
        seen["choices"][0]["token_ids"] is seen["choices"][0]["logprobs"] is seen["prompt_token_ids"] is None
    )
    assert captured.completions[0].token_ids == ids(IDS)
    assert captured.gaps == []
    assert captured.response_json == body


def test_hidden_reasoning_is_taken_out_of_a_stream() -> None:
    role, *tokens = chat_chunks()
    tokens[0]["choices"][0]["delta"] = {"reasoning": "hm"}  # type: ignore[index]
    tokens[1]["choices"][0]["delta"] = {"reasoning": "m", "content": "x"}  # type: ignore[index]
    pieces = [b"data: %b\n\n" % _compact(chunk) for chunk in (role, *tokens)]
    before, after, captured = read_stream(planned(), [*pieces, b"data: [DONE]\n\n"])
    deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in before.split(b"\n\n") if line]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning": None, "content": "x"},
        {"content": "t2"},
    ]
    assert after == b"data: [DONE]\n\n"
    assert captured.completions[0].token_ids == ids(IDS)
    assert captured.gaps == []
    assert b"hm" not in captured.response_json


def npy(array: np.ndarray[Any, Any]) -> str:
    """As vLLM's utils/serial_utils.py writes it (numpy2base64)."""
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return b64encode(buffer.getbuffer()).decode()


def with_choice(**members: object) -> tuple[bytes, Captured]:
    answer = chat_answer()
    answer["choices"][0].update(members)  # type: ignore[index]
    plan = rewrite("chat/completions", b'{"messages":[]}', enforced={}, model="")
    return read_whole_answer(plan, 200, _compact(answer))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["u1", "<u2", "<i4"]),
    st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4)),
    st.integers(0, 200),
)
def test_experts_are_what_numpy_wrote(dtype: str, shape: tuple[int, int, int], first: int) -> None:
    array = (np.arange(np.prod(shape)) + first).astype(dtype).reshape(shape)
    found = VLLM.experts(npy(array).encode())
    assert found is not None
    assert np.array_equal(np.frombuffer(found.data, found.dtype).reshape(found.shape), array)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.zeros((2, 3), "<i4")),
        np.zeros((2, 3), "<f4"),
        np.zeros(0, "<i4"),
        np.zeros(2, [("a", "<i4")]),
    ],
    ids=["order", "floats", "nothing", "fields"],
)
def test_an_array_of_another_kind_is_none(array: np.ndarray[Any, Any]) -> None:
    assert VLLM.experts(npy(array).encode()) is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_bytes_that_are_no_such_array_are_none(data: st.DataObject) -> None:
    whole_one = bytearray(npy(np.zeros((2, 2), "<i4")).encode())
    at = data.draw(st.integers(0, len(whole_one) - 1))
    cut = data.draw(st.booleans())
    changed = bytes(whole_one[:at]) if cut else bytes(whole_one[:at] + b"%" + whole_one[at:])
    assert VLLM.experts(changed) is None


async def test_routed_experts_are_kept_beside_the_trace_and_stay_in_the_answer(store: Store) -> None:
    array = np.arange(4 * 2 * 2, dtype="u1").reshape(4, 2, 2)
    answer = chat_answer()
    answer["choices"][0]["routed_experts"] = npy(array)  # type: ignore[index]
    async with scripted(whole(answer)) as worker, gateway(store, worker) as gate:
        async with gate.chat() as response:
            seen = await response.json()
        assert seen["choices"][0]["routed_experts"] == npy(array)
        trace = await gate.trace()
        experts = trace.completions[0].routed_experts
        assert (experts.dtype, tuple(experts.shape)) == ("|u1", (4, 2, 2))
        kept = await store.read(lambda view: view.blob_piece(experts.blob.digest, 0))
        assert kept == array.tobytes()
        assert list(trace.capture_gaps) == []


def test_experts_that_cannot_be_read_are_a_gap() -> None:
    _, captured = with_choice(routed_experts="AAAA")
    assert [gap.kind for gap in captured.gaps] == [gaps.UNREADABLE]
    assert not captured.completions[0].HasField("routed_experts")


SPANS: list[Json] = [{"version": "8", "start": 0, "end": 1}, {"version": "9", "start": 1, "end": 3}]


def test_spans_of_versions_are_the_completions_and_the_last_is_the_calls() -> None:
    _, captured = with_choice(weight_versions=SPANS)
    told = [pb.VersionSpan(version="8", start=0, end=1), pb.VersionSpan(version="9", start=1, end=3)]
    assert list(captured.completions[0].version_spans) == told
    assert captured.policy_version == "9"


@pytest.mark.parametrize("spans", [[{**SPANS[0], "end": 4}], [{"version": 1}], {}, [{**SPANS[1], "end": 0}]])
def test_spans_that_cannot_be_are_a_gap(spans: object) -> None:
    _, captured = with_choice(weight_versions=spans)
    assert [gap.kind for gap in captured.gaps] == [gaps.UNREADABLE]
    assert list(captured.completions[0].version_spans) == []
