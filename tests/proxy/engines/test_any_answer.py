"""Whatever a worker answers, whichever engine it is taken for: nothing raises, and the agent gets JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.engines.known import ENGINES
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.whole_answer import read_whole_answer
from tests.proxy.samples import read_stream

TOP = ["usage", "sglext", "metadata", "prompt_token_ids", "weight_version", "object", "error"]
OF_CHOICE = [
    *("index", "delta", "message", "text"),
    *("logprobs", "token_ids", "routed_experts", "weight_versions"),
]
INNER = ["content", "token_logprobs", "id", "input_ids", "output_ids", "reasoning", "version", "start", "end"]
LEAVES: list[object] = [None, True, 0, -1, 2**70, 0.5, "", "AAAA", [], [1, 2], [[1], [2]], [{"id": 2**40}]]
LEAF: st.SearchStrategy[object] = st.sampled_from(LEAVES)
INSIDE = st.dictionaries(st.sampled_from(INNER), LEAF, max_size=3)
VALUE: st.SearchStrategy[object] = st.one_of(LEAF, INSIDE, st.lists(INSIDE, max_size=2))
CHOICE = st.dictionaries(st.sampled_from(OF_CHOICE), VALUE, max_size=5)
CHOICES: st.SearchStrategy[object] = st.lists(CHOICE, max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, object]:
    return {**draw(st.dictionaries(st.sampled_from(TOP), VALUE, max_size=4)), "choices": draw(CHOICES)}


def planned(engine: str, endpoint: str, *, stream: bool) -> Rewrite:
    body = json.dumps({"stream": stream, "include_reasoning": False}).encode()
    return rewrite(endpoint, body, enforced={}, model="", engine=ENGINES[engine])


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["chat/completions", "completions"]), answers())
def test_a_whole_answer(engine: str, endpoint: str, answer: dict[str, object]) -> None:
    body, captured = read_whole_answer(
        planned(engine, endpoint, stream=False), 200, json.dumps(answer).encode()
    )
    assert json.loads(body).keys() <= answer.keys()
    assert captured.response_json == body


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["chat/completions", "completions"]), st.lists(answers(), max_size=4))
def test_a_stream(engine: str, endpoint: str, chunks: list[dict[str, object]]) -> None:
    pieces = [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks]
    before, after, captured = read_stream(
        planned(engine, endpoint, stream=True), [*pieces, b"data: [DONE]\n\n"]
    )
    for event in before.split(b"\n\n")[:-1]:
        json.loads(event.removeprefix(b"data: "))
    assert after == b"data: [DONE]\n\n"
    for completion in captured.completions:
        assert len(completion.logprobs) in (0, len(completion.token_ids))
