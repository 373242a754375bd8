"""Targets: calls that are translated. What agents send in a dialect, and what workers answer to it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.answer import Answer, answer_for
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.answer import translated
from rolltrace_proxy.dialects.interface import Dialect, NotTranslatableError, Referring, Translation
from rolltrace_proxy.dialects.known import dialect_of
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.raw_json import Object, read_object
from rolltrace_proxy.rewrite import rewrite
from rolltrace_proxy.tokens import pack_text
from tests.fuzz.feed import Feed, cut, pieces
from tests.proxy.samples import TOKEN_ANSWERS

_TRACE_ID = "01234567-89ab-4cde-8f01-23456789abcd"
_KINDS = ("text/event-stream", "text/event-stream", "application/json")
_ASKED: dict[str, dict[str, object]] = {
    "messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": {}, "eager_input_streaming": True}],
    },
    "responses": {"input": "hi", "include": ["message.output_text.logprobs"], "top_logprobs": 2},
}
_NAMES = list(_ASKED)
_ENDS = (b"event: message_stop\n", b"event: response.completed\n", b"event: response.incomplete\n")


def translated_request(data: bytes) -> None:
    """It becomes a chat completion, goes on as it came, or is refused in the dialect's words."""
    feed = Feed(data)
    dialect = _dialect(feed.choice(_NAMES))
    refused: Refused | None = None
    try:
        made = _translation(dialect, feed.rest())
        assert "messages" in _object(made.body)
    except NotTranslatableError:
        return
    except Refused as error:
        refused = error
    if refused is not None:
        assert refused.status == 400
        assert json.loads(dialect.refusal(refused))["error"]


def translated_answer(data: bytes) -> None:
    """The record is the same from every split; only the dialect's own events reach the agent, the last of
    them at the end; and what was recorded can be given again."""
    feed = Feed(data)
    name, kind, ended = feed.choice(_NAMES), feed.choice(_KINDS), feed.flag()
    status = feed.choice((200, 200, 200, 400))
    sizes, body = pieces(feed), feed.rest()
    before, after, captured = _read(name, kind, status, cut(body, sizes), ended=ended)
    assert captured == _read(name, kind, status, [body], ended=ended)[2]
    for completion in captured.completions:
        assert not completion.logprobs or len(completion.logprobs) == len(completion.token_ids)
    if kind == "application/json":
        assert before == b""
        return
    assert not any(end in before for end in _ENDS)
    for event in (before + after).split(b"\n\n"):
        for line in event.split(b"\n"):
            if line.startswith(b"data: "):
                assert "type" in _object(line[6:])
    if captured.response_json:
        assert "choices" not in _object(captured.response_json)
        assert _dialect(name).stream(captured.response_json)


def _dialect(name: str) -> Dialect:
    dialect = dialect_of(name)
    assert dialect is not None
    return dialect


def _object(data: bytes) -> Object:
    fields = read_object(data)
    assert fields is not None
    return fields


def _translation(dialect: Dialect, body: bytes) -> Translation:
    def find(trace_id: str) -> pb.Trace | None:
        return None

    made = dialect.translate(body, _TRACE_ID)
    return made.translate(find) if isinstance(made, Referring) else made


def _read(
    name: str, kind: str, status: int, parts: Sequence[bytes], *, ended: bool
) -> tuple[bytes, bytes, Captured]:
    asked = {**_ASKED[name], "model": "m", "stream": kind == _KINDS[0]}
    made = _translation(_dialect(name), json.dumps(asked).encode())
    plan = rewrite("chat/completions", made.body, enforced={}, model="").sent()
    fields = [("content-type", kind)]
    answer: Answer = translated(answer_for(plan, status, fields, 1 << 24, pack_text), made, status)
    before = b"".join([answer.feed(part) for part in parts])
    captured = answer.capture(ended=ended)
    return before, answer.close() if ended else b"", captured


def request_seeds() -> list[bytes]:
    bodies = [json.dumps({"model": "m", **_ASKED[name]}).encode() for name in _NAMES]
    return [bytes([place]) + body for place, body in enumerate(bodies)]


def answer_seeds() -> list[bytes]:
    """Every recorded chat answer, for every dialect: whole, and in pieces."""
    streams = [
        bytes((place, 0, 1, 0)) + cuts for place in range(len(_NAMES)) for cuts in (b"\0", b"\2\x09\x50")
    ]
    wholes = [bytes((place, 2, 1, 0, 0)) for place in range(len(_NAMES))]
    chats = [sample for sample in TOKEN_ANSWERS if sample.endpoint == "chat/completions"]
    return [
        head + sample.body
        for sample in sorted(chats, key=lambda sample: len(sample.body))[:12]
        for head in (streams if sample.body.startswith(b"data:") else wholes)
    ]
