"""Targets: what workers send. Whole answers, streams of events, and how both reach agent and trace."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.answer import fill
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.sse import Event, EventFramer, parse_event
from rolltrace_proxy.tokens import pack_text
from rolltrace_proxy.whole_answer import read_carefully, read_whole_answer
from rolltrace_store.promises import broken_promises
from tests.fuzz.feed import Feed, cut, pieces
from tests.proxy.samples import read_stream
from tests.proxy.sse_spec import data_of

Json = Any  # what json.loads gives

_SURROGATE = re.compile("[\ud800-\udfff]")
_CHAT, _COMPLETIONS = "chat/completions", "completions"
_REQUESTS: tuple[tuple[str, dict[str, object]], ...] = (
    (_CHAT, {"messages": []}),
    (_CHAT, {"messages": [], "stream": True}),
    (_CHAT, {"stream": True, "logprobs": True}),
    (_CHAT, {"stream": True, "return_token_ids": True}),
    (_CHAT, {"stream": True, "logprobs": True, "return_token_ids": True, "n": 2}),
    (_CHAT, {"top_logprobs": 2}),
    (_COMPLETIONS, {"prompt": "a"}),
    (_COMPLETIONS, {"prompt": "a", "stream": True}),
    (_COMPLETIONS, {"prompt": "a", "echo": True, "logprobs": 1}),
    ("embeddings", {"input": "a"}),
)
ASKED: list[Rewrite] = [
    rewrite(endpoint, json.dumps(body).encode(), enforced={}, model="") for endpoint, body in _REQUESTS
]
"""Requests of agents; an answer is read as the answer to one of them."""


def sse_framing(data: bytes) -> None:
    """All bytes come out again, and the events are those of the specification, however it is cut."""
    feed = Feed(data)
    sizes = pieces(feed)
    stream = feed.rest()
    framer = EventFramer()
    events = [event for piece in cut(stream, sizes) for event in framer.feed(piece)]
    rest = framer.rest()
    assert b"".join(event.raw for event in events) + rest == stream
    if rest.endswith(b"\n\r"):  # it waited for the other half of a CRLF
        events.append(parse_event(rest))
    assert [event.data for event in events if event.data is not None] == data_of(stream)
    for event in events:
        if event.data is not None:
            assert parse_event(event.with_data(b"1")).data == b"1"


def stream_answer(data: bytes) -> None:
    """Agent and trace get the same from every split; the agent all but what was added for the trace."""
    feed = Feed(data)
    asked, ended, sizes = feed.choice(ASKED), feed.flag(), pieces(feed)
    body = feed.rest()
    before, after, captured = read_stream(asked, cut(body, sizes), ended=ended)
    whole = read_stream(asked, [body], ended=ended)
    assert captured == whole[2]
    if b"\r\r\n" not in body:  # an end that is an event's or stands for itself, by the split
        assert (before, after) == whole[:2]
    if not asked.added or not asked.captures:
        assert before + after == body
    assert not any((event.data or b"").startswith(b"[DONE]") for event in _events(before))
    _check_view(asked, _events(body), _events(before + after))
    _check_captured(asked, captured, ended=ended)
    chunks = [loaded(event.data) for event in _until_done(_events(body))]
    if asked.captures:
        _check_text(asked, chunks, captured)
    if asked.captures and ended:
        _check_tokens(asked, [chunk for chunk in chunks if chunk is not None], captured)


def whole_answer(data: bytes) -> None:
    """The agent gets the worker's answer but for what was added; the trace nothing that it does not say."""
    feed = Feed(data)
    asked, status = feed.choice(ASKED), feed.choice((200, 200, 200, 400, 503))
    body = feed.rest()
    seen, captured = read_whole_answer(asked, status, body)
    _check_alike(captured, read_carefully(asked, status, body, pack_text)[1])
    if status >= 400:
        assert seen == body
        assert captured.error
        return
    if not asked.added:
        assert seen == body
    answer = loaded(body)
    if answer is not None and seen != body:
        assert dumped(loaded(seen)) == dumped(_stripped(asked, answer))
    _check_captured(asked, captured, ended=True)
    if asked.captures and answer is not None:
        _check_tokens(asked, [answer], captured)


def _check_alike(one: Captured, other: Captured) -> None:
    """Alike but for the answer's text, in which white space may differ."""
    assert replace(one, response_json=b"") == replace(other, response_json=b"")


def _events(stream: bytes) -> list[Event]:
    framer = EventFramer()
    events = framer.feed(stream)
    rest = framer.rest()
    return [*events, parse_event(rest)] if rest else events


def _until_done(events: list[Event]) -> Iterator[Event]:
    for event in events:
        if (event.data or b"").startswith(b"[DONE]"):
            return
        if event.data is not None:
            yield event


def _check_view(asked: Rewrite, sent: list[Event], seen: list[Event]) -> None:
    """Every event of the worker reaches the agent in order, but for what was added."""
    assert b"".join(e.raw for e in sent if e.data is None) == b"".join(e.raw for e in seen if e.data is None)
    left = iter([event.data for event in seen if event.data is not None])
    found = next(left, None)
    for event in sent:
        if event.data is None:
            continue
        if found == event.data or (found is not None and _is_stripped(asked, event.data, found)):
            found = next(left, None)
        else:
            assert _is_idle(event.data), f"lost: {event.data!r}"
    assert found is None, f"from nowhere: {found!r}"


def _is_stripped(asked: Rewrite, sent: bytes, seen: bytes) -> bool:
    before, after = loaded(sent), loaded(seen)
    return before is not None and dumped(after) == dumped(_stripped(asked, before))


def _is_idle(data: bytes) -> bool:
    choices = _each((loaded(data) or {}).get("choices"))
    return bool(choices) and all(c.get("token_ids") is not None and c.get("delta") == {} for c in choices)


def _stripped(asked: Rewrite, answer: dict[str, Json]) -> dict[str, Json]:
    choices = [_without(choice, asked.added) for choice in _each(answer.get("choices"))]
    return _without(answer, asked.added) | {"choices": choices}


def _each(choices: Json) -> list[dict[str, Json]]:
    return [_object(choice) or {} for choice in _list(choices) or []]


def _without(fields: dict[str, Json], added: tuple[str, ...]) -> dict[str, Json]:
    return {key: None if key in added else value for key, value in fields.items()}


def loaded(data: bytes | None) -> dict[str, Json] | None:
    """An object whose choices are objects, read by Python; None for anything else."""
    try:
        text = (data or b"").decode(errors="surrogateescape")
        value = json.loads(text, parse_constant=lambda _: None, parse_int=integer)
    except (ValueError, RecursionError):
        return None
    fields = _object(value)
    choices = _list(fields.get("choices")) if fields is not None else None
    return fields if choices is not None and all(_object(each) is not None for each in choices) else None


def integer(digits: str) -> int | str:
    """An integer of JSON, or its digits where Python refuses to read so many."""
    return int(digits) if len(digits) < 4000 else digits


def _object(value: Json) -> dict[str, Json] | None:
    return cast("dict[str, Json]", value) if isinstance(value, dict) else None


def _list(value: Json) -> list[Json] | None:
    return cast("list[Json]", value) if isinstance(cast("object", value), list) else None


def dumped(value: Json) -> str:
    """For comparing: unlike ==, it tells true from 1 and finds NaN in NaN."""
    return json.dumps(value, sort_keys=True)


def _check_captured(asked: Rewrite, captured: Captured, *, ended: bool) -> None:
    """What a trace promises (trace.proto): arrays that line up, or a gap that says why not."""
    status = pb.CALL_STATUS_COMPLETED if ended and captured.error is None else pb.CALL_STATUS_UPSTREAM_ERROR
    trace = pb.Trace(endpoint=asked.endpoint, status=status)
    fill(trace, captured)
    assert pb.Trace.FromString(trace.SerializeToString()) == trace
    assert not list(broken_promises(trace))
    for completion in trace.completions:
        assert len(completion.logprobs) in (0, len(completion.token_ids))
        values = _floats(completion.logprobs)
        named = {gap.kind for gap in trace.capture_gaps if gap.completion_index == completion.index}
        if completion.token_ids and (not values or any(map(math.isnan, values))):
            assert named & {gaps.LOGPROBS, gaps.MISMATCH}
        if completion.message_json:
            json.loads(completion.message_json)


def _floats(data: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _check_tokens(asked: Rewrite, answers: list[dict[str, Json]], captured: Captured) -> None:
    """Where all is plain, the tokens are those that the plain way of reading gives."""
    if gaps.UNREADABLE in {gap.kind for gap in captured.gaps}:
        return
    told: dict[int, list[dict[str, Json]]] = {}
    for answer in answers:
        for place, choice in enumerate(_each(answer["choices"])):
            index = choice.get("index", place)
            if type(index) is not int or not 0 <= index < 1 << 32:
                return
            told.setdefault(index, []).append(choice)
    if {completion.index for completion in captured.completions} != told.keys():
        return  # some of it was not readable, and a gap says so
    for completion in captured.completions:
        ids, logprobs = _plain(told[completion.index])
        if ids is not None:
            assert completion.token_ids == struct.pack(f"<{len(ids)}i", *ids)
        if ids and logprobs is not None and not asked.echoes:
            assert completion.logprobs in (b"", struct.pack(f"<{len(logprobs)}f", *logprobs))
            assert completion.logprobs or any(map(math.isnan, logprobs))


def _check_text(asked: Rewrite, chunks: list[dict[str, Json] | None], captured: Captured) -> None:
    """Of a plain stream, a message is its pieces, or a gap says that something of it was not readable."""
    if None in chunks or gaps.UNREADABLE in {gap.kind for gap in captured.gaps}:
        return
    said: dict[int, str] = {}
    for chunk in chunks:
        for choice in _each((chunk or {}).get("choices")):
            part = choice.get("text") if asked.endpoint == _COMPLETIONS else choice.get("delta")
            fields = _object(part)
            text = part if fields is None else fields.get("content")
            if type(choice.get("index")) is not int or not isinstance(text, str | None):
                return
            said[choice["index"]] = said.get(choice["index"], "") + (text or "")
    for completion in captured.completions:
        text = said.get(completion.index)
        if completion.message_json and text is not None and not _SURROGATE.search(text):
            assert (json.loads(completion.message_json).get("content") or "") == text


def _plain(choices: list[dict[str, Json]]) -> tuple[list[int] | None, list[float] | None]:
    """Ids and log-probabilities of one choice's pieces, each None unless all pieces are as they should be."""
    ids: list[int] = []
    logprobs: list[float] | None = []
    for choice in choices:
        piece = _list(choice.get("token_ids") or [])
        if piece is None or not all(type(i) is int and -(2**31) <= i < 2**31 for i in piece):
            return None, None
        ids += piece
        values = _plain_logprobs(choice.get("logprobs"), len(piece))
        logprobs = None if logprobs is None or values is None else logprobs + values
    return ids, logprobs


def _plain_logprobs(given: Json, count: int) -> list[float] | None:
    if given is None:
        return [math.nan] * count
    fields = _object(given) or {}
    content = [_object(token) for token in _list(fields.get("content")) or []]
    if fields.get("content") is None:
        values = _list(fields.get("token_logprobs"))
    else:
        values = [token.get("logprob") for token in content if token is not None]
    if values is None or len(values) != count or (content and len(content) != count):
        return None
    if not all(value is None or (type(value) is float and abs(value) < 1e38) for value in values):
        return None
    return [math.nan if value is None else value for value in values]
