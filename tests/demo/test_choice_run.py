"""Choices as steps: ends, stop strings, held-back text, determinism, and forced tool calls."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_demo.byte_tokens import HIDDEN, IM_END, decode, encode
from rolltrace_demo.choice_run import ChunkPacer, ShownText, Step, engine_turns, run_choice
from rolltrace_demo.demo_model import demo_model
from rolltrace_demo.openai_requests import FunctionSpec, Tool
from rolltrace_demo.token_sampling import Sampling
from rolltrace_demo.tool_grammar import forced_call, written_call

PROMPT = encode("<|im_start|>user\nHello.<|im_end|>\n<|im_start|>assistant\n")
SEEDED = Sampling(200, seed=7)


def run(sampling: Sampling, choice: int = 0, tool: Tool | None = None) -> list[Step]:
    grammar = forced_call([tool], "what is the weather in Paris") if tool else None
    return list(run_choice(demo_model(), PROMPT, sampling, choice, grammar))


def text(steps: Sequence[Step]) -> str:
    return "".join(step.text for step in steps)


def ids(steps: Sequence[Step]) -> list[int]:
    return [step.token_id for step in steps]


def shown(steps: Sequence[Step]) -> str:
    return decode(token_id for token_id in ids(steps) if token_id not in HIDDEN)


def test_each_log_probability_is_that_of_its_context() -> None:
    context = list(PROMPT)
    for step in run(replace(SEEDED, temperature=0.7, top=3)):
        distribution = demo_model().distribution(context)
        assert 2.718281828459045**step.logprob == pytest.approx(distribution[step.token_id])
        context.append(step.token_id)


def test_the_same_seed_and_choice_repeat_and_others_differ() -> None:
    assert run(SEEDED) == run(SEEDED)
    assert ids(run(SEEDED)) != ids(run(SEEDED, choice=1))
    assert ids(run(SEEDED)) != ids(run(replace(SEEDED, seed=8)))


def test_an_answer_ends_with_the_end_of_turn_in_ids_but_not_in_text() -> None:
    steps = run(SEEDED)
    assert steps[-1].token_id == IM_END
    assert [step.finish_reason for step in steps] == [None] * (len(steps) - 1) + ["stop"]
    assert text(steps) == shown(steps)


def test_length() -> None:
    steps = run(replace(SEEDED, max_tokens=5))
    assert len(steps) == 5
    assert steps[-1].finish_reason == "length"
    assert ids(steps) == ids(run(SEEDED))[:5]


def test_ignore_eos_goes_on() -> None:
    steps = run(replace(SEEDED, ignore_eos=True))
    assert len(steps) == 200
    assert steps[-1].finish_reason == "length"


def test_a_stop_string_is_in_the_ids_and_not_in_the_text() -> None:
    whole = shown(run(SEEDED))
    stop = whole[8:11]
    steps = run(replace(SEEDED, stop=("never", stop)))
    assert text(steps) == whole[: whole.index(stop)]
    assert shown(steps) == whole[: whole.index(stop) + len(stop)]
    assert (steps[-1].finish_reason, steps[-1].stop_reason) == ("stop", stop)


def test_a_stop_string_that_does_not_come_changes_no_text() -> None:
    assert text(run(replace(SEEDED, stop=("no such words",)))) == text(run(SEEDED))


@settings(max_examples=60)
@given(st.text("abé", max_size=12), st.lists(st.text("abé", min_size=1, max_size=3), max_size=2))
def test_shown_text_is_what_comes_before_the_first_stop_string(whole: str, stop: list[str]) -> None:
    shown_text, out = ShownText(stop), ""
    for token_id in encode(whole):
        piece, match = shown_text.push(token_id)
        out += piece
        if match is not None:
            assert out + match == decode(encode(whole))[: len(out + match)]
            assert not any(s in (out + match)[:-1] for s in stop)
            return
    assert out + shown_text.rest() == whole
    assert not any(s in whole for s in stop)


def test_an_unfinished_character_is_not_shown() -> None:
    shown_text = ShownText(())
    assert shown_text.push(0xC3) == ("", None)
    assert shown_text.rest() == ""


def test_choices_do_not_disturb_each_other() -> None:
    runs = [run_choice(demo_model(), PROMPT, SEEDED, choice, None) for choice in range(3)]
    interleaved: dict[int, list[Step]] = {choice: [] for choice in range(3)}
    for turn in engine_turns(runs):
        for choice, step in turn.items():
            interleaved[choice].append(step)
    assert interleaved == {choice: run(SEEDED, choice) for choice in range(3)}


def test_the_pacer_keeps_every_step_and_its_interval() -> None:
    steps, pacer = run(replace(SEEDED, max_tokens=8)), ChunkPacer(3)
    chunks = [chunk for step in steps if (chunk := pacer.push(0, step))]
    assert [len(chunk) for chunk in chunks] == [1, 3, 3, 1]
    assert [step for chunk in chunks for step in chunk] == steps


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"enum": ["°C", "°F"]},
        "days": {"type": "integer"},
        "level": {"enum": [1, 10, 2]},
        "precise": {"type": "boolean"},
        "height": {"type": "number"},
        "near": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
        "nothing": {"type": "null"},
    },
}
TOOL = Tool(FunctionSpec("get_weather", "weather report", SCHEMA))


@pytest.mark.parametrize("seed", range(5))
def test_a_forced_call_is_json_of_the_schemas_types(seed: int) -> None:
    steps = run(Sampling(500, seed=seed), tool=TOOL)
    call = written_call(text(steps))
    assert call is not None
    assert (call.name, call.complete, steps[-1].token_id) == ("get_weather", True, IM_END)
    arguments = json.loads(call.arguments)
    assert [type(value) for value in arguments.values()] == [
        *(str, str, int, int, bool, float, list, type(None))
    ]
    assert arguments["city"] == "Paris"
    assert arguments["unit"] in ("°C", "°F")


def test_what_is_forced_is_certain_and_what_is_chosen_is_not() -> None:
    steps = run(Sampling(500, seed=1), tool=TOOL)
    frame = len(encode('<tool_call>\n{"name": "get_weather", "arguments": {"city": "'))
    assert {step.logprob for step in steps[:frame]} == {0.0}
    assert min(step.logprob for step in steps) < 0.0


def test_a_string_is_spelled_where_the_user_names_nothing() -> None:
    tool = Tool(FunctionSpec("f", None, {"properties": {"word": {"type": "string"}}}))
    grammar = forced_call([tool], "")
    steps = list(run_choice(demo_model(), PROMPT, Sampling(300, seed=3), 0, grammar))
    call = written_call(text(steps))
    assert call is not None
    assert 1 <= len(json.loads(call.arguments)["word"]) <= 12


@given(st.integers(0, 200))
@settings(max_examples=30)
def test_a_call_is_read_from_any_part_of_its_text(cut: int) -> None:
    whole = '<tool_call>\n{"name": "a\\"b", "arguments": {"x": {"y": "}"}}}\n</tool_call>'
    call = written_call(whole[:cut])
    if call is None:
        assert cut <= whole.index(', "arg')
    else:
        assert call.name == 'a"b'
        assert '{"x": {"y": "}"}}'.startswith(call.arguments)
        assert call.complete == (cut >= len(whole))
