"""Targets: what agents send. Bodies, request targets and header fields."""

from __future__ import annotations

import json
from typing import Any, cast
from urllib.parse import unquote, unquote_to_bytes

from rolltrace_proxy import headers, paths
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.raw_json import OBJECT, mend, read
from rolltrace_proxy.rewrite import rewrite
from rolltrace_store.names import check_session_id
from tests.fuzz.answers import dumped, integer
from tests.fuzz.feed import Feed

Json = Any  # what json.loads gives

_ENDPOINTS = ("chat/completions", "chat/completions", "completions", "embeddings", "")
_ENFORCED: tuple[dict[str, object], ...] = (
    {},
    {},
    {"temperature": 1.0, "max_tokens": 7.0},
    {"logprobs": True, "top_logprobs": 2.0, "stop": ["a"]},
    {"n": 2.0, "chat_template_kwargs": {"a": [1.0, None]}},
)


def request_body(data: bytes) -> None:
    """The worker gets the agent's object but for what was enforced or asked for; all else as it came."""
    feed = Feed(data)
    endpoint, enforced, model = feed.choice(_ENDPOINTS), feed.choice(_ENFORCED), feed.choice(("", "m"))
    body = feed.rest()
    sent = rewrite(endpoint, body, enforced=enforced, model=model)
    before, after = _object(body), _object(sent.body)
    if before is None:
        assert sent.body == body
        return
    assert after is not None
    ours = {*enforced, "model", "logprobs", "return_token_ids"}
    assert dumped(_but(before, ours)) == dumped(_but(after, ours))
    if not model:
        assert before.get("model") == after.get("model")
    if sent.captures:
        assert {key: after[key] for key in enforced} == enforced
        if not sent.unasked:
            for key in ("return_token_ids", "logprobs"):
                assert after[key] is not None
                assert after[key] is not False or (key, endpoint) == ("logprobs", "completions")


def _object(body: bytes) -> dict[str, Json] | None:
    """As a worker in Python reads it; None for what is no object, or too deep for Python."""
    try:
        value = json.loads(body, parse_int=integer)
        json.dumps(value)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Json]", value) if isinstance(value, dict) else None


def _but(fields: dict[str, Json], keys: set[str]) -> dict[str, Json]:
    return {key: value for key, value in fields.items() if key not in keys}


def mended_json(data: bytes) -> None:
    """What is mended says the same in JSON, but for what JSON cannot say."""
    mended = mend(data)
    if mended is None:
        return
    assert read(OBJECT, mended) is not None
    assert mend(mended) == mended
    value = json.loads(data.decode(errors="replace"), parse_constant=lambda _: None, parse_float=_finite)
    assert json.loads(mended) == json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _finite(digits: str) -> float | None:
    return float(digits) if abs(float(digits)) < float("inf") else None


def request_target(data: bytes) -> None:
    """A path names one session and stays below the worker's api_path, or is refused with a 400."""
    raw = data.decode("utf-8", "surrogateescape")
    try:
        target = paths.parse(raw)
    except Refused as refused:
        _check_refusal(refused)
        return
    if target is None:
        return
    assert (target.tail + target.query).isascii()
    assert target.tail[:1] in ("", "/")
    assert target.query[:1] in ("", "?")
    if target.session_id:
        check_session_id(target.session_id)
        named = dict(headers.ids("t", target.session_id))
        assert named[headers.SESSION_ID].isascii()
        assert named[headers.SESSION_ID].isprintable()
        assert unquote(named[headers.SESSION_ID]) == target.session_id
    segments = unquote_to_bytes(target.tail).replace(b"\\", b"/").split(b"/")
    assert not {b".", b".."} & set(segments)
    assert paths.at_worker("http://h", "/a", target) == ("http://h", "/a" + target.tail + target.query)


def _check_refusal(refused: Refused) -> None:
    assert refused.status == 400
    assert json.loads(refused.body())["error"]["message"]


def header_fields(data: bytes) -> None:
    """What concerns one hop stays there; all else goes on, in order and as often as it came."""
    feed = Feed(data)
    api_key = feed.choice(("", "key"))
    fields = [(name, value) for line in feed.rest().split(b"\n") for name, value in [_field(line)]]
    to_worker = headers.to_worker(fields, api_key)
    to_agent = headers.to_agent(fields, same_length=bool(api_key))
    sent, answered = ({name.lower() for name, _ in each} for each in (to_worker, to_agent))
    named = {each.strip().lower() for n, v in fields if n.lower() == "connection" for each in v.split(",")}
    for name in ("connection", "transfer-encoding", "upgrade", *named):
        assert name not in answered
        assert name == "accept-encoding" or name == "authorization" or name not in sent
    assert [v for n, v in to_worker if n.lower() == "accept-encoding"] == ["identity"]
    assert not api_key or [v for n, v in to_worker if n.lower() == "authorization"] == ["Bearer key"]
    kept = iter(fields)
    assert all(field in kept for field in to_agent)
    others = {n.lower() for n, _ in fields} - named
    assert ("x-own" in answered) == ("x-own" in others)
    headers.compressed(fields)


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
    return name, value.strip(" \t")
