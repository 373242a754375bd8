"""What no SDK sends and no engine answers: nothing but what the interface names is raised."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.dialects.interface import NotTranslatableError, Referring
from rolltrace_proxy.dialects.responses.dialect import Responses
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.raw_json import OBJECT, read
from tests.proxy.dialects.response_events import parsed
from tests.proxy.dialects.test_responses_answer import TRACE_ID, translation

Json = Any  # what json.loads gives

VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    (
        *("message", "function_call", "function_call_output", "reasoning", "item_reference", "function"),
        *("input_text", "input_image", "input_file", "allowed_tools", "json_schema", "assistant", "user"),
        *("text", "auto"),
    )
)


def objects(*keys: str) -> st.SearchStrategy[Json]:
    """Objects that know these members, with values of any kind; those within them too."""
    known = st.deferred(lambda: st.dictionaries(st.sampled_from(keys), values, max_size=5))
    values: st.SearchStrategy[Json] = VALUES | KINDS | known | st.lists(known, max_size=3)
    return known


REQUESTS = objects(
    *(
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "text",
        "reasoning",
        "include",
        "top_logprobs",
        "stream",
    ),
    *(
        "type",
        "role",
        "content",
        "output",
        "call_id",
        "name",
        "arguments",
        "summary",
        "id",
        "status",
        "format",
    ),
    *(
        "image_url",
        "previous_response_id",
        "max_output_tokens",
        "truncation",
        "mode",
        "schema",
        "encrypted_content",
    ),
)
CHUNKS = objects(
    *(
        "choices",
        "delta",
        "message",
        "content",
        "reasoning",
        "refusal",
        "tool_calls",
        "function",
        "arguments",
    ),
    *("index", "id", "name", "finish_reason", "usage", "prompt_tokens", "prompt_tokens_details", "created"),
    *("logprobs", "token", "bytes", "logprob", "top_logprobs", "error", "model", "service_tier"),
)


@settings(max_examples=80, deadline=None)
@given(REQUESTS)
def test_any_request(fields: Json) -> None:
    try:
        made = Responses().translate(json.dumps(fields).encode(), TRACE_ID)
        made = made.translate(lambda _: None) if isinstance(made, Referring) else made
    except (NotTranslatableError, Refused):
        return
    assert isinstance(json.loads(made.body)["messages"], list)


@settings(max_examples=80, deadline=None)
@given(st.lists(CHUNKS, max_size=4))
def test_any_chunks(chunks: list[Json]) -> None:
    reply = translation(stream=True, include=["message.output_text.logprobs"]).reply()
    stream = b"".join([reply.feed(read(OBJECT, json.dumps(chunk).encode()) or {}, 0) for chunk in chunks])
    whole = reply.whole()
    assert not whole or json.loads(whole)["object"] == "response"
    stream += reply.close()
    events = parsed(stream)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    whole = reply.whole()
    assert not whole or json.loads(whole) == events[-1]["response"]


@settings(max_examples=80, deadline=None)
@given(CHUNKS)
def test_any_answer(answer: Json) -> None:
    body = json.dumps(answer).encode()
    made = translation(include=["message.output_text.logprobs"])
    whole = made.whole(body)
    assert whole == body or json.loads(whole)["object"] == "response"
    json.loads(made.error(400, body))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(body: bytes) -> None:
    made = translation()
    assert made.whole(body) == made.error(500, body) == body
    assert Responses().stream(body) is None
