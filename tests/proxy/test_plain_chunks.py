"""What one pattern reads of a stream is what the reader of single events gives, whatever the stream."""

from __future__ import annotations

import json
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy import stream_answer
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.rewrite import Rewrite, rewrite
from tests.proxy.samples import STREAMS, Sample, read_stream

CHAT = rewrite("chat/completions", b'{"messages":[]}', enforced={}, model="")
COMPLETIONS = rewrite("completions", b'{"prompt":""}', enforced={}, model="")
HEAD = b'"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m"'

ODD_TEXTS = rb"""\n \"\\\/\b\f\r\t \u00e9 \ud83d\ude00 \ud83d \u12g4 \x data:{ [DONE] " """.split()
TEXTS = st.one_of(
    st.text(max_size=6).map(lambda text: json.dumps(text)[1:-1].encode()),
    st.sampled_from([b"", b" a", b" b", b"\xc3\xa9", b"\xf0\x9f\x98\x80"]),
    st.sampled_from([*ODD_TEXTS, b"\xff", b"\xc3", b"\t", b"\0", b'", "']),
)
NUMBERS = st.one_of(
    st.floats(-20, 0).map(lambda number: repr(number).encode()),
    st.floats(-20, 0, width=32).map(lambda number: repr(number).encode()),
    st.sampled_from([b"0", b"-0", b"-0.0", b"-9999.0", b"1e-45", b"-1E-7", b"-3.4e-310", b"-1e5", b"1e999"])
    | st.sampled_from([b"null", b"-10000.5", b"01", b"-.5", b"1.", b'"x"', b"NaN", b"-Infinity", b"4e38"]),
)
IDS = st.one_of(
    st.integers(0, 200_000).map(lambda token: b"%d" % token),
    st.integers(0, 9).map(lambda token: b"%d" % token),
    st.sampled_from([b"7,8", b"", b"-1", b"007", b"999999999", b"2147483648", b"1.0", b"null"]),
)
HEADS = st.sampled_from(
    [HEAD] * 6
    + [
        HEAD.replace(b"1,", b"2,"),
        HEAD.replace(b'":', b'": '),
        HEAD + b',"model":"n"',
        HEAD + b',"usage":null',
        HEAD + b',"usage":{"prompt_tokens":1,"completion_tokens":1}',
        HEAD + b',"prompt_token_ids":null',
        HEAD + b',"prompt_token_ids":5',
        HEAD + b',"prompt_token_ids":[1,2]',
        HEAD + b',"choices":null',
        HEAD + b',"odd":"[{"',
        HEAD.replace(b'"m"', b"1e999"),
        HEAD.replace(b'"m"', b'"\xff"'),
        b'"\\u0069d":"x"',
    ]
)
KEYS = st.sampled_from([b"content"] * 5 + [b"reasoning", b"role", b"id", b"x"])
INDEXES = st.sampled_from([b"0"] * 8 + [b"1", b"00", b"-1", b'"0"'])
MIDDLES = st.sampled_from(
    [b',"finish_reason":null,'] * 6
    + [
        b',"finish_reason":"stop",',
        b',"finish_reason":null,"stop_reason":null,',
        b',"finish_reason":null,"stop_reason":5,',
        b',"finish_reason":null,"prompt_token_ids":null,',
        b',"finish_reason":null,"token_ids":null,',
        b',"finish_reason":null,"finish_reason":null,',
        b',"finish_reason":null,"x":{',
        b", ",
        b",",
    ]
)
TAILS = st.sampled_from(
    [b"}]}"] * 6
    + [
        b',"x":null}]}',
        b',"x":1}]}',
        b'}],"usage":null}',
        b'}],"choices":[]}',
        b'},{"index":1}]}',
        b'}],"system_fingerprint":"f"}',
        b'}],"usage":{"prompt_tokens":2,"completion_tokens":1}}',
        b"}}]}",
        b"}]",
        b"}]}x",
    ]
)
ENDS = st.sampled_from([b"\n\n"] * 8 + [b"\r\n\r\n", b"\n\n\n", b"\n", b"\r\r", b"\n\n: hi\n", b""])
BYTES = st.sampled_from([b"[104,105]", b"[]", b"null", b"[0]", b"[1,,2]", b"[01]", b"[,]", b"[1,]"])
ODD = st.sampled_from(
    [
        b": keep-alive\n\n",
        b"\n",
        b"event: x\n",
        b"event: x\ndata: 1\n\n",
        b"data: {oops\n\n",
        b"data: 7\ndata: 8\n\n",
        b"data:",
        b"\xef\xbb\xbf",
        b'data: {"error":{"message":"died"}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":2,"total_tokens":9,"completion_tokens":3}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"logprobs":null,"token_ids":[3]}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":5}}],"model":"other"}\n\n',
        b'data: {"choices":[{"index":0,"text":"t","token_ids":[4,5]}],"model":"other"}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop","token_ids":[]}]}\n\n',
        b'data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],'
        b'"prompt_token_ids":[1,2]}\n\n',
    ]
)


@st.composite
def chat_chunk(draw: st.DrawFn, *, odd: bool) -> bytes:
    """As vLLM sends it; odd: anything in it may be otherwise."""
    usual = st.just
    head, index, key = (draw(values if odd else usual(one)) for values, one in _usual_chat())
    middle, tail, end, told = (
        draw(values if odd else usual(one))
        for values, one in (
            (MIDDLES, b',"finish_reason":null,'),
            (TAILS, b"}]}"),
            (ENDS, b"\n\n"),
            (BYTES, b"[]"),
        )
    )
    text, number, token = draw(TEXTS), draw(NUMBERS), draw(IDS)
    return (
        b'data: {%b,"choices":[{"index":%b,"delta":{"%b":"%b"},"logprobs":{"content":[{"token":"%b",'
        b'"logprob":%b,"bytes":%b,"top_logprobs":[]}]}%b"token_ids":[%b]%b%b'
    ) % (head, index, key, text, draw(TEXTS), number, told, middle, token, tail, end)


def _usual_chat() -> tuple[tuple[st.SearchStrategy[bytes], bytes], ...]:
    return ((HEADS, HEAD), (INDEXES, b"0"), (KEYS, b"content"))


@st.composite
def completions_chunk(draw: st.DrawFn, *, odd: bool) -> bytes:
    text, number, token, word = draw(TEXTS), draw(NUMBERS), draw(IDS), draw(TEXTS)
    places = draw(st.sampled_from([b"0", b"17", b"", b"1,2", b"01"])) if odd else b"3"
    top = b'[{"%b":%b}]' % (word, number)
    top = draw(st.sampled_from([top, b"null", b"[null]", b"[]", b"[{}]"])) if odd else top
    head, index, middle = (draw(HEADS), draw(INDEXES), draw(MIDDLES)) if odd else (HEAD, b"0", b"")
    tail, end = (draw(TAILS), draw(ENDS)) if odd else (b"}]}", b"\n\n")
    middle = middle or b',"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,'
    return (
        b'data: {%b,"choices":[{"index":%b,"text":"%b","logprobs":{"text_offset":[%b],"token_logprobs":[%b],'
        b'"tokens":["%b"],"top_logprobs":%b}%b"token_ids":[%b]%b%b'
    ) % (head, index, text, places, number, word, top, middle, token, tail, end)


def streams(chunk: st.SearchStrategy[bytes], odd_chunk: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    one = st.one_of(chunk, chunk, chunk, chunk, odd_chunk, ODD)
    end = st.sampled_from([b"data: [DONE]\n\n", b"", b"data: {", b"data: [DONE]\n\ndata: {}\n\n"])
    return st.tuples(st.lists(one, max_size=12), end).map(lambda drawn: b"".join(drawn[0]) + drawn[1])


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % (len(stream) + 1) for place in places})
    return [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]


def one_by_one(asked: Rewrite, pieces: list[bytes], *, ended: bool = True) -> tuple[bytes, bytes, Captured]:
    """As read_stream, with no chunk taken for a plain one."""
    with mock.patch.object(stream_answer, "plain_chunks", return_value=None):
        return read_stream(asked, pieces, ended=ended)


CHATS = streams(chat_chunk(odd=False), chat_chunk(odd=True))
TEXTS_OF_COMPLETIONS = streams(completions_chunk(odd=False), completions_chunk(odd=True))
PLACES = st.lists(st.integers(0, 4000), max_size=8)


@given(CHATS, PLACES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_chat_is_read_as_it_is_one_by_one(stream: bytes, places: list[int], ended: bool) -> None:
    pieces = cut(stream, places)
    assert read_stream(CHAT, pieces, ended=ended) == one_by_one(CHAT, pieces, ended=ended)


@given(TEXTS_OF_COMPLETIONS, PLACES, st.booleans())
@settings(max_examples=200, deadline=None)
def test_completions_are_read_as_they_are_one_by_one(stream: bytes, places: list[int], ended: bool) -> None:
    pieces = cut(stream, places)
    assert read_stream(COMPLETIONS, pieces, ended=ended) == one_by_one(COMPLETIONS, pieces, ended=ended)


@pytest.mark.parametrize("sample", STREAMS, ids=lambda sample: sample.name)
@pytest.mark.parametrize("size", [1, 7, 100, 333, 1 << 20])
def test_what_vllm_sent_is_read_as_it_is_one_by_one(sample: Sample, size: int) -> None:
    pieces = [sample.body[at : at + size] for at in range(0, len(sample.body), size)]
    for asked in (sample.asked, sample.asked_for_agent):
        assert read_stream(asked, pieces) == one_by_one(asked, pieces)


def plain(text: bytes = b"a", head: bytes = HEAD, word: bytes = b"w", tail: bytes = b"}]}") -> bytes:
    return (
        b'data: {%b,"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":{"content":[{"token":"%b",'
        b'"logprob":-0.5,"bytes":[97],"top_logprobs":[]}]},"finish_reason":null,"token_ids":[7]%b\n\n'
    ) % (head, text, word, tail)


NEARLY_PLAIN = {
    "after a comment": b": keep-alive\n\n" + plain(b"b"),
    "after other line ends": b": a\r\n\r\n" + plain(b"b"),
    "between other line ends": b"\r" + plain(b"b") + b"\r",
    "a name in place of a text": plain(b"b").replace(b'"content":"b', b'"role":"b'),
    "of another event": b"event: x\n" + plain(b"b"),
    "a second data line": b"data: {}\n" + plain(b"b"),
    "after the end": b"data: [DONE]\n\n" + plain(b"b"),
    "no UTF-8": plain(word=b"\xff"),
    "with usage": plain(head=HEAD + b',"usage":7'),
    "with a prompt": plain(head=HEAD + b',"prompt_token_ids":7'),
    "a member twice": plain(head=HEAD + b',"model":"n"'),
    "white space": plain(head=HEAD.replace(b":", b" :")),
    "choices elsewhere": plain(
        head=HEAD + b',"choices":null',
        tail=b'}],"choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,"token_ids":[8]}]}',
    ),
    "nested": b'data: {"x":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[{"token":"w",'
    b'"logprob":-1,"bytes":[],"top_logprobs":[]}]},"finish_reason":null,"token_ids":[7]}],"choices":[{"index":0,"delta":'
    b'{"content":"a text that no worker says"},"logprobs":null,"token_ids":null}]}\n\n',
}


@pytest.mark.parametrize("odd", NEARLY_PLAIN.values(), ids=NEARLY_PLAIN)
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_nearly_plain_is_read_as_it_is(odd: bytes, alone: bool) -> None:
    stream = [plain(), plain(b"c"), odd, plain(b"d"), odd, odd, plain(b"e")]
    pieces = stream if alone else [b"".join(stream)]
    assert read_stream(CHAT, pieces) == one_by_one(CHAT, pieces)


@pytest.mark.parametrize("size", [1, 32, 1000])
def test_plain_chunks_are_never_read_one_by_one(size: int) -> None:
    answer = stream_answer.StreamAnswer(CHAT)
    answer.feed(b"data: {}\n\n")
    seen: list[bytes] = []
    with mock.patch.object(answer, "_feed_events", side_effect=AssertionError):
        for _ in range(0, 1000, size):
            seen.append(answer.feed(plain() * size))
    assert b"".join(seen).count(b'"token_ids":null') >= 1000
    (completion,) = answer.capture(ended=False).completions
    assert len(completion.token_ids) == len(completion.logprobs) == 4 * b"".join(seen).count(b"data: ")
    assert completion.message_json == b'{"content":"%b"}' % (b"a" * (len(completion.token_ids) // 4))


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"m"', b'"n"'),
        (b'"finish_reason":null', b'"finish_reason":null,"stop_reason":null'),
        (b"}]}\n", b'}],"x":null}\n'),
    ],
    ids=["head", "middle", "tail"],
)
def test_chunks_that_differ_around_their_text_are_told_apart(part: bytes, other: bytes) -> None:
    chunk = plain()
    assert chunk.count(part) == 1
    stream = chunk + chunk.replace(part, other) + chunk
    assert read_stream(CHAT, [stream])[0] == one_by_one(CHAT, [stream])[0]
