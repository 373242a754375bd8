"""Answers have the keys, the nulls and the order of events of a real vLLM's (tests/samples).

A shape is a value with its scalars replaced by their types. Where vLLM had a number or a string and the
demo worker has one too, contents may differ; a key that is missing or new, a null or a list out of
place fails.
"""

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest

from tests.demo.worker_client import WEATHER, Json, WorkerClient, events, say

SAMPLES = Path(__file__).parent.parent / "samples"
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"


def sample(name: str) -> Json:
    body: Json = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
    return body


def sample_events(name: str) -> list[Json]:
    exchange = (SAMPLES / f"{name}.txt").read_text("utf-8")
    return events(exchange[exchange.index("data: ") :])


def shape(value: Any, path: str = "") -> Any:
    """The skeleton of a value; lists show their first element, token names and usage details none."""
    if isinstance(value, dict):
        if path.endswith(".top_logprobs"):
            return "names to numbers"
        inside = cast(Json, value)
        return [(key, shape(inner, f"{path}.{key}")) for key, inner in inside.items()]
    if isinstance(value, list):
        return [shape(value[0], path)] if value else []
    if path.endswith(("_tokens_details", ".finish_reason", ".stop_reason")):
        return "any"
    return None if value is None else type(value).__name__


WHOLE: list[tuple[str, str, Json]] = [
    ("chat_plain", CHAT, {"messages": say("Hi.")["messages"], "max_tokens": 8}),
    ("chat_ids_logprobs", CHAT, say("Hi.", max_tokens=8)),
    ("chat_n2_ids", CHAT, say("Hi.", max_tokens=4, n=2)),
    ("t_tool_auto", CHAT, say("weather in Paris", tools=[WEATHER])),
    (
        "t_tool_named",
        CHAT,
        say(
            "weather in Paris",
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
        ),
    ),
    ("compl_ids_logprobs", COMPLETION, {"prompt": "The", "logprobs": 1, "return_token_ids": True}),
    (
        "compl_two_prompts",
        COMPLETION,
        {"prompt": ["The", "A"], "logprobs": 0, "return_token_ids": True, "max_tokens": 3},
    ),
]


@pytest.mark.parametrize(("name", "path", "body"), WHOLE, ids=[name for name, _, _ in WHOLE])
async def test_a_whole_answer(client: WorkerClient, name: str, path: str, body: Json) -> None:
    expected, answer = sample(name), await client.post(path, body)
    for each in (expected, answer):
        each["usage"] |= {"prompt_tokens_details": None}
    assert shape(answer) == shape(expected)
    assert len(answer["choices"]) == len(expected["choices"])
    assert answer["id"].split("-")[0] == expected["id"].split("-")[0]
    assert answer["object"] == expected["object"]
    reasons = [[choice["finish_reason"] for choice in a["choices"]] for a in (answer, expected)]
    if name.startswith("t_tool"):
        assert reasons[0] == reasons[1]


USAGE: Json = {"stream_options": {"include_usage": True}}
STREAMS: list[tuple[str, str, Json]] = [
    ("chat_stream_plain", CHAT, {"messages": say("Hi.")["messages"], "max_tokens": 4}),
    ("chat_stream_ids_logprobs", CHAT, say("Hi.", max_tokens=8)),
    ("chat_stream_ids_usage", CHAT, say("Hi.", max_tokens=4) | USAGE),
    ("chat_stream_n2_ids", CHAT, say("Hi.", max_tokens=3, n=2)),
    ("t_tool_auto_stream", CHAT, say("weather in Paris", tools=[WEATHER]) | USAGE),
    (
        "compl_stream_ids_logprobs",
        COMPLETION,
        {"prompt": "The", "logprobs": 1, "return_token_ids": True, "max_tokens": 4} | USAGE,
    ),
    ("t_compl_stream_eos", COMPLETION, {"prompt": "A", "logprobs": 0, "return_token_ids": True}),
]


def kinds(chunks: list[Json]) -> list[Any]:
    """The different shapes of a stream's events, in the order of their first appearance."""
    shapes: list[Any] = []
    for chunk in chunks:
        if chunk.get("usage"):
            chunk["usage"].pop("prompt_tokens_details", None)
        if (found := shape(chunk)) not in shapes:
            shapes.append(found)
    return shapes


@pytest.mark.parametrize(("name", "path", "body"), STREAMS, ids=[name for name, _, _ in STREAMS])
async def test_a_stream(client: WorkerClient, name: str, path: str, body: Json) -> None:
    asked = body | {"seed": 1}
    expected, chunks = sample_events(name), await client.stream(path, asked)
    # An empty delta for a byte inside a character comes where the text has it: vLLM's shape too.
    inside = [c for c in expected if c["choices"] and not c["choices"][0].get("delta", True)]
    optional = [] if name.startswith("t_tool") else kinds([c for c in inside if not _ends(c)])
    found = [kind for kind in kinds(chunks) if kind not in optional]
    assert found == [kind for kind in kinds(expected) if kind not in optional]


def _ends(chunk: Json) -> bool:
    return bool(chunk["choices"][0]["finish_reason"])


async def test_prompt_ids_come_on_the_first_event_of_each_choice(client: WorkerClient) -> None:
    chunks = await client.stream(CHAT, say("Hi.", n=3, max_tokens=3))
    bearing = [c["choices"][0]["index"] for c in chunks if c.get("prompt_token_ids")]
    assert bearing == [0, 1, 2]
    asked: Json = {"prompt": "The", "return_token_ids": True, "max_tokens": 3}
    chunks = await client.stream(COMPLETION, asked)
    ids = [c["choices"][0]["prompt_token_ids"] for c in chunks]
    assert ids == [list(b"The"), None, None]


async def test_an_event_with_nothing_to_say_is_sent_only_to_carry_ids(client: WorkerClient) -> None:
    """A stop string that never comes holds the first characters back: their events are empty."""
    plain: Json = {"messages": say("Hi.")["messages"], "seed": 1, "stop": "never"}
    for asked, empty in (
        (plain, 0),
        (plain | {"return_token_ids": True}, 4),
        (plain | {"logprobs": True}, 4),
    ):
        deltas = [chunk["choices"][0] for chunk in (await client.stream(CHAT, asked))[1:]]
        assert sum(not d["delta"] and not d["finish_reason"] for d in deltas) == empty


ERRORS: list[tuple[str, Json | bytes, int, str | None]] = [
    (CHAT, say("Hi.", model="nope"), 404, "model"),
    (CHAT, say("Hi.", model="nope", stream=True), 404, "model"),
    (CHAT, say("Hi.", n=2, temperature=0), 400, None),
    (CHAT, say("Hi.", temperature=-1), 400, "temperature"),
    (CHAT, say("Hi.", temperature="hot"), 400, "body.temperature"),
    (CHAT, say("Hi.", top_p=0), 400, "top_p"),
    (CHAT, say("Hi.", n=0), 400, "n"),
    (CHAT, say("Hi.", top_logprobs=21), 400, "logprobs"),
    (CHAT, say("Hi.", max_tokens=200_000), 400, "max_tokens"),
    (CHAT, say("Hi.", max_tokens=0), 400, "max_tokens"),
    (CHAT, say("x" * 140_000), 400, "input_tokens"),
    (CHAT, say("Hi.", tool_choice="required"), 400, "tool_choice"),
    (CHAT, say("Hi.", tool_choice="sometimes"), 400, "tool_choice"),
    (CHAT, {"messages": []}, 400, "messages"),
    (CHAT, {"model": "demo"}, 400, "body"),
    (CHAT, b'{"model": "demo",', 400, "body"),
    (CHAT, say("Hi.", prompt_logprobs=1), 400, "prompt_logprobs"),
    (COMPLETION, {"prompt": "a", "echo": True}, 400, "echo"),
    (COMPLETION, {"prompt": [300]}, 400, "prompt"),
    (COMPLETION, {"prompt": ""}, 400, "prompt"),
    (COMPLETION, {"prompt": ["a", 1]}, 400, "prompt"),
]


@pytest.mark.parametrize(("path", "body", "status", "param"), ERRORS)
async def test_errors(
    client: WorkerClient, path: str, body: Json | bytes, status: int, param: str | None
) -> None:
    error = await client.post(path, body, status)
    real = sample("err_bad_model")
    assert list(error) == list(real)
    assert list(error["error"]) == list(real["error"])
    assert (error["error"]["code"], error["error"]["param"]) == (status, param)


async def test_the_words_of_errors_are_those_of_vllm(client: WorkerClient) -> None:
    error = await client.post(CHAT, say("Hi.", model="nope"), 404)
    words = re.sub("tiny", "demo", sample("err_bad_model")["error"]["message"])
    assert error["error"]["message"] == words
    error = await client.post(CHAT, say("Hi.", n=2, temperature=0), 400)
    assert error == sample("u_n_gt_1_greedy")


async def test_other_endpoints(client: WorkerClient) -> None:
    async with client.session.get("/health") as health:
        assert (health.status, await health.read()) == (200, b"")
    async with client.session.get("/v1/models") as models:
        listed, real = (await models.json())["data"][0], sample("models")["data"][0]
        assert [key for key, _ in shape(listed)] == [key for key, _ in shape(real)]
    async with client.session.get("/v1/nope") as missing:
        assert (missing.status, await missing.json()) == (404, {"detail": "Not Found"})
    asked = say("Hi.", max_tokens=1)
    tokens = await client.post("/tokenize", {"messages": asked["messages"]})
    assert shape(tokens) == shape(sample("tokenize_chat"))
    assert tokens["tokens"] == (await client.chat(asked))["prompt_token_ids"]
