"""An answer read in one pass says what it says when it is read member by member."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rolltrace_proxy.plain_answer import read_plain_answer
from rolltrace_proxy.prompts import Prompts
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.tokens import pack_text
from rolltrace_proxy.whole_answer import read_carefully, read_whole_answer
from tests.fuzz.answers import ASKED
from tests.proxy.answers import chat_answer
from tests.proxy.samples import ALL, WHOLES, Sample

Json = Any  # what json.loads gives

CHAT, COMPLETIONS = ASKED[0], ASKED[6]
TWO = rewrite("chat/completions", b'{"n":2}', enforced={}, model="")
OWN = rewrite("chat/completions", b'{"logprobs":true}', enforced={}, model="")
ALL_OWN = rewrite("completions", b'{"logprobs":1,"return_token_ids":true}', enforced={}, model="")
WITH_ALL = [each for each in WHOLES if b'"token_ids":[' in each.body and b',"logprobs":{' in each.body]
PLAIN = [each for each in WITH_ALL if each.name not in ("compl_echo", "compl_two_prompts")]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


def check_same(asked: Rewrite, status: int, body: bytes, known: Prompts) -> bool:
    """Agent and trace get the same either way; but for white space, and of two members of one name the first,
    in what the agent gets. Tells whether it was read in one pass."""
    careful_seen, careful = read_carefully(asked, status, body, pack_text)
    seen, captured = read_whole_answer(asked, status, body, known.of("s"))
    plain = read_plain_answer(asked, body, pack_text) if asked.captures and status < 400 else None
    if careful.response_json == careful_seen:  # not mended for the trace
        assert captured.response_json == seen
        careful.response_json = seen
    if seen != careful_seen:
        assert plain is not None
        assert json.dumps(json.loads(seen)) == json.dumps(json.loads(careful_seen))
    assert captured == careful
    return plain is not None


def named(sample: Sample) -> str:
    return sample.name


@pytest.mark.parametrize("sample", PLAIN, ids=named)
def test_what_vllm_gives_is_read_in_one_pass(sample: Sample) -> None:
    for asked in (sample.asked, sample.asked_for_agent):
        if "_n2_" in sample.name and asked.choices != 2:
            continue
        plain = read_plain_answer(asked, sample.body, pack_text)
        assert plain == read_carefully(asked, 200, sample.body, pack_text)


@pytest.mark.parametrize("sample", ALL, ids=named)
def test_every_recorded_answer_is_read_the_same(sample: Sample) -> None:
    known = Prompts()
    for asked in (sample.asked, sample.asked_for_agent, *ASKED):
        check_same(asked, sample.status, sample.body, known)


def test_several_choices_are_read_in_one_pass_when_they_were_asked_for() -> None:
    body = compact(chat_answer(2))
    plain = read_plain_answer(TWO, body, pack_text)
    assert plain == read_carefully(TWO, 200, body, pack_text)
    assert plain is not None
    assert len(plain[1].completions) == 2
    assert read_plain_answer(TWO, compact(chat_answer(1)), pack_text) is None


ODD: st.SearchStrategy[Json] = st.sampled_from(
    [None, True, 0, 1, -1, 2**31, 1.5, 1e39, 10**400, "", "x", "\0000", [], [7], [8, 9], [1, None], [[1]],
     {}, {"content": []}, {"content": None}, {"content": [{"logprob": -1.0}]},
     {"content": [{"logprob": None}] * 3},
     {"content": [{"token": "\u00e9\"},\"", "logprob": -1}] * 3}, {"token_logprobs": [0.5, -2, -1e-9]},
     {"token_logprobs": [0.5, None, 1]}, "stop", "length", {"prompt_tokens": 2, "completion_tokens": 3},
     {"prompt_tokens": 2, "completion_tokens": 4}, {"prompt_tokens": -1},
     {"role": "assistant", "content": "é"}]
)  # fmt: skip
KEYS = st.sampled_from(
    ["prompt_token_ids", "token_ids", "logprobs", "index", "finish_reason", "message", "text", "usage",
     "model", "choices", "content", "id"]
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """vLLM's answers with some members changed, taken away, added or moved."""
    answer: Json = chat_answer(draw(st.sampled_from([1, 1, 1, 2, 3])))
    objects: list[Json] = [answer, *answer["choices"]]
    if draw(st.booleans()):  # as completions have it
        prompt = answer.pop("prompt_token_ids")
        for choice in answer["choices"]:
            choice["text"] = choice.pop("message")["content"]
            values = [token["logprob"] for token in choice["logprobs"]["content"]]
            choice["logprobs"] = {"text_offset": [0], "token_logprobs": values, "tokens": ['"},"']}
            choice["prompt_token_ids"] = prompt
    for _ in range(draw(st.integers(0, 2))):
        changed, key = draw(st.sampled_from(objects)), draw(KEYS)
        how = draw(st.sampled_from(["set", "set", "drop", "last"]))
        value = changed.pop(key, None) if how != "set" else draw(ODD)
        if how != "drop":
            changed[key] = value
    return compact(answer)


FRAGMENTS = st.sampled_from(
    [b"", b" ", b"\n", b",", b"]", b"[", b"}", b"{", b'"', b"\\", b"null", b"NaN", b"1", b"\xff",
     b"\xc3\xa9",
     b',"token_ids":[5]', b',"prompt_token_ids":[7,8]', b',"logprobs":{"content":[]}', b'"\\u00000"',
     b',"token_ids":"\\u00000"', b',"x":{"y":0,"token_ids":[1,2,3]}',
     b',"x":[{"y":0,"prompt_token_ids":[7]}]',
     b',"x":",\\"token_ids\\":[1]"', b',"logprobs":null', b',"finish_reason":"stop"', b',"index":0']
)  # fmt: skip
REAL = st.sampled_from([sample.body for sample in WITH_ALL])


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """Answers as text, with something written into them; mostly where a member may stand."""
    body = draw(answers() | REAL)
    for _ in range(draw(st.integers(0, 1))):
        if draw(st.booleans()):
            places = [match.start() for match in re.finditer(rb',"|(?<=[}\]])[,}\]]', body)]
            at = draw(st.sampled_from(places or [0]))
        else:
            at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(FRAGMENTS) + body[at + draw(st.sampled_from([0, 0, 0, 1, 2])) :]
    return body


WHOLE = st.sampled_from([CHAT, CHAT, COMPLETIONS, OWN, ALL_OWN, TWO]) | st.sampled_from(ASKED)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(WHOLE, answers() | edited()), min_size=1, max_size=3))
def test_whatever_an_answer_holds_is_read_the_same(calls: list[tuple[Rewrite, bytes]]) -> None:
    known = Prompts()
    for asked, body in calls:
        event("in one pass" if check_same(asked, 200, body, known) else "with care")


@pytest.mark.parametrize(
    "inserted",
    [
        b',"x":{"y":0,"token_ids":[1,2,3]}',
        b',"token_ids":[5]',
        b',"prompt_token_ids":[5]',
        b',"x":"\\u00000"',
    ],
)
def test_what_only_looks_like_tokens_is_not_taken_for_them(inserted: bytes) -> None:
    body = compact(chat_answer())
    for asked in (CHAT, COMPLETIONS, TWO):
        for at in range(len(body)):
            check_same(asked, 200, body[:at] + inserted + body[at:], Prompts())


def changed(changes: dict[str, Json], n: int = 1) -> bytes:
    """An answer in which members of the top level or of the last choice are others."""
    answer: Json = chat_answer(n)
    for key, value in changes.items():
        (answer if key in answer else answer["choices"][-1])[key] = value
    return compact(answer)


def logprobs(*values: float | None, token: str = "x") -> Json:
    return {"content": [{"token": token, "logprob": value} for value in values]}


USAGE = {"prompt_tokens": 2, "completion_tokens": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"logprobs": logprobs(-1, None, -1)},
        {"logprobs": logprobs(-1, -1)},
        {"logprobs": logprobs(-1, -1, -1, -1)},
        {"logprobs": logprobs(-1, 1e39, -1)},
        {"logprobs": logprobs(-1, -1, -1, token="\ud800")},
        {"logprobs": None},
        {"token_ids": []},
        {"token_ids": [1, 2, 2**31]},
        {"prompt_token_ids": []},
        {"prompt_token_ids": [7, None]},
        {"usage": USAGE | {"prompt_tokens": 3}},
        {"usage": USAGE | {"completion_tokens": 2}},
        {"finish_reason": "tired"},
        {"finish_reason": None},
        {"index": -1},
        {"index": 2**32},
        {"message": None},
    ],
    ids=repr,
)
def test_an_answer_that_lacks_something_is_not_plain(changes: dict[str, Json]) -> None:
    body = changed(changes)
    for asked in (CHAT, OWN):
        check_same(asked, 200, body, Prompts())
    assert read_plain_answer(CHAT, body, pack_text) is None or "message" in changes


def test_choices_of_one_index_are_not_plain() -> None:
    body = changed({"index": 0, "usage": None}, n=2)
    check_same(TWO, 200, body, Prompts())
    assert read_plain_answer(TWO, body, pack_text) is None


def test_what_is_no_utf8_is_not_plain() -> None:
    body = compact(chat_answer()).replace(b"answer 0", b"answer \xff")
    check_same(CHAT, 200, body, Prompts())
    assert read_plain_answer(CHAT, body, pack_text) is None


def test_a_mark_of_the_workers_own_is_not_taken_for_ours() -> None:
    decoy = b',"x":{"y":0,"token_ids":[4,5,6]},"token_ids":"\\u00001"'
    body = compact(chat_answer()).replace(b',"token_ids":[1,2,3]', decoy)
    body = body.replace(b',"finish_reason":"stop"', b"").replace(
        b'{"index":0', b'{"finish_reason":"stop","index":0'
    )
    assert b'},"x"' in body
    check_same(CHAT, 200, body, Prompts())


def test_an_echoed_prompt_is_not_plain() -> None:
    echo = ASKED[8]
    assert echo.echoes
    assert read_plain_answer(echo, compact(chat_answer()), pack_text) is None
