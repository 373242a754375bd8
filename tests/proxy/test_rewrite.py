"""What the worker is asked in place of the agent's body."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy import rewrite as rewrite_module
from rolltrace_proxy.rewrite import Rewrite, rewrite

CHAT, COMPLETIONS = "chat/completions", "completions"
ALL_ADDED = ("prompt_token_ids", "token_ids", "logprobs")
NOTHING: Mapping[str, object] = {}


def chat(body: bytes, enforced: Mapping[str, object] = NOTHING, model: str = "") -> Rewrite:
    return rewrite(CHAT, body, enforced=enforced, model=model)


def test_new_members_are_spliced_in_and_the_rest_keeps_its_bytes() -> None:
    body = b' { "model" : "m", "messages":[ {"content":"\xc3\xa9\\u00e9 1.50"} ], "temperature": 1.0e0 }\n'
    asked = chat(body)
    assert asked.body == body[:-2] + b',"return_token_ids":true,"logprobs":true}\n'
    assert (asked.model, asked.streamed, asked.captures, asked.added) == ("m", False, True, ALL_ADDED)


def test_completions_ask_for_the_least_that_gives_logprobs() -> None:
    asked = rewrite(COMPLETIONS, b'{"prompt":"a"}', enforced={}, model="")
    assert json.loads(asked.body) == {"prompt": "a", "return_token_ids": True, "logprobs": 0}
    assert asked.added == ALL_ADDED


def test_an_enforced_length_wins_under_both_of_its_names() -> None:
    name, other = "max_tokens", "max_completion_tokens"
    for enforced, agents in ((name, other), (other, name)):
        sent = json.loads(chat(json.dumps({agents: 100}).encode(), enforced={enforced: 7.0}).body)
        assert (sent[enforced], sent[agents]) == (7, 7)
    assert json.loads(chat(b'{"max_tokens":9}', enforced={name: 7, other: 8}).body)["max_tokens"] == 7
    assert other not in json.loads(chat(b"{}", enforced={name: 7}).body)


@pytest.mark.parametrize(
    ("own", "added"),
    [
        ({"logprobs": True}, ALL_ADDED[:2]),
        ({"logprobs": True, "top_logprobs": 3}, ALL_ADDED[:2]),
        ({"return_token_ids": True}, ALL_ADDED[2:]),
        ({"logprobs": True, "return_token_ids": True}, ()),
        ({"logprobs": False}, ALL_ADDED),
        ({"logprobs": None, "return_token_ids": None}, ALL_ADDED),
        ({"return_token_ids": False}, ALL_ADDED),
        ({"top_logprobs": 0}, ALL_ADDED),
    ],
)
def test_what_the_agent_asked_for_itself_stays_its_own(
    own: dict[str, object], added: tuple[str, ...]
) -> None:
    asked = chat(json.dumps({"messages": [], **own}).encode())
    assert asked.added == added
    assert json.loads(asked.body) == {"messages": [], **own, "return_token_ids": True, "logprobs": True}


def test_an_agent_that_asked_for_everything_is_not_touched() -> None:
    body = b'{"logprobs" : true, "return_token_ids" : true}'
    assert chat(body).body == body
    body = b'{"logprobs" : 5, "return_token_ids" : true}'
    assert rewrite(COMPLETIONS, body, enforced={}, model="").body == body


def test_enforced_parameters_win_over_the_agent_and_the_model_over_both() -> None:
    body = b'{"model":"a","temperature":0,"stream":true,"z":1.10}'
    asked = chat(body, enforced={"temperature": 1.0, "max_tokens": 7.0, "top_p": 0.5}, model="b")
    assert asked.body.startswith(b'{"model":"b","temperature":1,"stream":true,"z":1.10,"max_tokens":7,')
    assert (asked.model, asked.streamed) == ("b", True)
    assert json.loads(asked.body)["top_p"] == 0.5


def test_logprobs_that_the_session_enforces_are_not_the_agents() -> None:
    asked = chat(b'{"messages":[]}', enforced={"logprobs": True, "top_logprobs": 2})
    assert asked.added == ALL_ADDED
    assert json.loads(asked.body)["top_logprobs"] == 2


@pytest.mark.parametrize(
    ("endpoint", "own", "reason"),
    [
        (CHAT, {"top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"logprobs": False, "logprob_token_ids": [1]}, "logprob_token_ids"),
        (COMPLETIONS, {"logprob_token_ids": [1]}, "logprob_token_ids"),
        (COMPLETIONS, {"echo": True}, "echo"),
    ],
)
def test_nothing_is_asked_where_it_would_change_the_answer(
    endpoint: str, own: dict[str, object], reason: str
) -> None:
    body = json.dumps(own).encode()
    asked = rewrite(endpoint, body, enforced={}, model="")
    assert asked.body == body
    assert reason in asked.unasked


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}x", b'{"a":' * 100_000])
def test_what_is_no_object_goes_on_untouched(body: bytes) -> None:
    asked = chat(body, enforced={"temperature": 1}, model="m")
    assert asked.body == body
    assert asked.unasked


def test_other_endpoints_only_get_the_model() -> None:
    asked = rewrite("embeddings", b'{"model":"a", "input":"x"}', enforced={"temperature": 1}, model="b")
    assert json.loads(asked.body) == {"model": "b", "input": "x"}
    assert not asked.captures
    assert rewrite("tokenize", b'{ "a":1}', enforced={}, model="b").body == b'{ "a":1}'


def test_what_only_python_reads_is_asked_too() -> None:
    asked = chat(b'{"messages":[{"content":"cut \\ud83d"}],"x":NaN}')
    assert json.loads(asked.body)["messages"][0]["content"] == "cut \ud83d"
    assert json.loads(asked.body)["return_token_ids"] is True
    assert json.loads(chat('{"a":1}'.encode("utf-16")).body)["logprobs"] is True


def test_an_empty_object_needs_no_comma_and_of_two_keys_the_last_counts() -> None:
    assert chat(b"{ }").body == b'{ "return_token_ids":true,"logprobs":true}'
    assert json.loads(chat(b'{"logprobs":true,"logprobs":false}').body)["logprobs"] is True
    assert chat(b'{"logprobs":true,"logprobs":false}').added == ALL_ADDED
    assert chat(b'{"logpro\\u0062s":true}').added == ALL_ADDED[:2]


KEYS = st.sampled_from(["logprobs", "return_token_ids", "echo", "stream", "model", "top_logprobs"]) | st.text(
    max_size=3
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([CHAT, COMPLETIONS, "x"]), st.dictionaries(KEYS, JSON, max_size=6), st.booleans())
def test_the_agents_other_members_always_survive(
    endpoint: str, fields: dict[str, object], model: bool
) -> None:
    asked = rewrite(endpoint, json.dumps(fields).encode(), enforced={}, model="m" if model else "")
    sent = json.loads(asked.body)
    ours = {"logprobs", "return_token_ids", "model"}
    assert {k: v for k, v in sent.items() if k not in ours} == {
        k: v for k, v in fields.items() if k not in ours
    }


class _Everything(frozenset[str]):
    """Has something in common with every request."""

    def isdisjoint(self, other: object) -> bool:
        return False


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([CHAT, COMPLETIONS, "x"]), st.dictionaries(KEYS, JSON, max_size=4), st.booleans())
def test_the_usual_request_is_rewritten_as_any_other(
    endpoint: str, fields: dict[str, object], compact: bool
) -> None:
    body = b" %b\n" % json.dumps(fields, separators=(",", ":") if compact else None).encode()
    seen = rewrite(endpoint, body, enforced={}, model="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite_module, "TELLING", _Everything())
        assert seen == rewrite(endpoint, body, enforced={}, model="")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_no_body_raises(body: bytes) -> None:
    assert rewrite(CHAT, body, enforced={"a": 1}, model="m").captures


def test_once_sent_only_the_body_is_forgotten() -> None:
    plan = rewrite("chat/completions", b'{"model":"m","stream":true}', enforced={}, model="")
    sent = plan.sent()
    assert plan.body
    assert sent == Rewrite(
        plan.endpoint, b"", "m", streamed=True, captures=True, added=plan.added, unasked=plan.unasked
    )
