"""The request: what the worker is sent in place of the agent's body.

Rules. The session's enforced sampling parameters win over the agent's fields, the gateway's model over
both (on other endpoints only the model is replaced). Token ids and log-probabilities are asked for,
unless the agent asked by itself; how, the worker's engine says. All other members keep their order and their
bytes; where only new members come in, they are spliced in before the last brace and the body is not rebuilt.
What is not a JSON object goes on untouched: the worker refuses it better than we could.

Which worker it will be is not known yet, so a request is planned for vLLM first, whose usual requests are
planned with the fewest questions, and again for another engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from msgspec import Raw, Struct
from msgspec.structs import replace

from rolltrace_proxy.engines.interface import ID_KEYS, LOGPROB_KEYS, Ask, Engine
from rolltrace_proxy.engines.vllm import ALL_WISHES, CHAT, TELLING, TRUE, VLLM
from rolltrace_proxy.raw_json import INTEGER, STRING, Object, read_member, read_object, write

TOKEN_ENDPOINTS = frozenset(ALL_WISHES)
_OLD, _NEW = "max_tokens", "max_completion_tokens"
"""Two names of one parameter; workers take the new one where there are both."""


class Rewrite(Struct, frozen=True, gc=False):
    """A request as it goes to the worker, and what to know when its answer comes."""

    # The path after "/v1/".
    endpoint: str
    body: bytes
    # As sent; empty when the body names none.
    model: str
    # Whether the agent asked for a stream.
    streamed: bool
    # Whether the endpoint's answers are read for tokens.
    captures: bool
    # As in Ask.
    added: tuple[str, ...] = ()
    unasked: str = ""
    # Whether the prompt is repeated in the answer's text and log-probabilities (completions, echo).
    echoes: bool = False
    # How many choices the agent asked for; 0 where that is not said.
    choices: int = 0
    # Whose terms it is in, and its answer.
    engine: Engine = VLLM
    plain: bool = True
    late: bool = False

    def sent(self) -> Rewrite:
        """What is still to be known once the worker answers: all but the body, which nothing then keeps."""
        return replace(self, body=b"")


def rewrite(
    endpoint: str,
    body: bytes,
    *,
    enforced: Mapping[str, object],
    model: str,
    untold: str = "",
    engine: Engine = VLLM,
) -> Rewrite:
    """What to send for the agent's body.

    endpoint is the path after "/v1/"; enforced the session's sampling parameters; model the gateway's own,
    or empty; untold why no tokens are asked for of an endpoint that may have some; engine the worker's.
    Raises ValueError when an enforced value cannot be written as JSON.
    """
    captures = endpoint in TOKEN_ENDPOINTS
    fields, usual = read_object(body), engine is VLLM and not (enforced or model)
    if usual and captures and fields is not None and TELLING.isdisjoint(fields):
        return _asking_for_all(endpoint, body, fields)
    spliceable = fields is not None
    if fields is None:
        fields = _read_leniently(body)
    if fields is None:
        unasked = "the request is not a JSON object" if captures else untold
        return Rewrite(endpoint, body, "", streamed=False, captures=captures, unasked=unasked, engine=engine)
    changes = _imposed(fields, enforced if captures else {}, model)
    ask = engine.ask(endpoint, fields, fields | changes) if captures else Ask(unasked=untold)
    changes |= ask.members
    sent = fields | changes
    if spliceable and fields.keys().isdisjoint(changes):
        body = _splice(body, write(changes)[1:-1], fields)
    else:
        body = _joined(sent)
    return _asking(endpoint, body, sent, ask, engine)


def _asking(endpoint: str, body: bytes, sent: Object, ask: Ask, engine: Engine) -> Rewrite:
    """body: that of sent."""
    chat = endpoint == CHAT
    return Rewrite(
        endpoint,
        body,
        read_member(STRING, sent, "model") or "",
        sent.get("stream") == TRUE,
        endpoint in TOKEN_ENDPOINTS,
        ask.added,
        ask.unasked,
        echoes=not chat and sent.get("echo") == TRUE,
        choices=(read_member(INTEGER, sent, "n") or 0) if chat else 0,
        engine=engine,
        plain=ask.plain,
        late=ask.late,
    )


def _asking_for_all(endpoint: str, body: bytes, fields: Object) -> Rewrite:
    """What becomes of a usual request to which nothing is imposed: the same, with fewer questions."""
    return Rewrite(
        endpoint,
        _splice(body, ALL_WISHES[endpoint], fields),
        read_member(STRING, fields, "model") or "",
        fields.get("stream") == TRUE,
        True,
        ID_KEYS + LOGPROB_KEYS,
    )


def _read_leniently(body: bytes) -> Object | None:
    """As Python's own reader, which workers use, reads it: lone surrogates, NaN, UTF-16."""
    try:
        value = json.loads(body)
        return {key: Raw(json.dumps(each).encode()) for key, each in value.items()}
    except (ValueError, AttributeError, RecursionError):
        return None


def _joined(members: Object) -> bytes:
    """The object of members. Its keys are escaped, since one that only Python reads may be no UTF-8."""
    written = [b"%b:%b" % (json.dumps(key).encode(), bytes(value)) for key, value in members.items()]
    return b"{%b}" % b",".join(written)


def _imposed(agent: Object, enforced: Mapping[str, object], model: str) -> Object:
    imposed = {key: Raw(write(_whole_number(value))) for key, value in enforced.items()}
    if _OLD in imposed:
        if _NEW in agent:
            imposed.setdefault(_NEW, imposed[_OLD])
    elif _NEW in imposed and _OLD in agent:
        imposed[_OLD] = imposed[_NEW]
    if model and "model" in agent:
        imposed["model"] = Raw(write(model))
    return imposed


def _whole_number(value: object) -> object:
    """A protobuf Struct knows only floats; max_tokens: 100.0 is an error to some workers."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole_number(each) for each in cast("list[object]", value)]
        case dict():
            return {key: _whole_number(each) for key, each in cast("dict[str, object]", value).items()}
        case _:
            return value


def _splice(body: bytes, members: bytes, fields: Object) -> bytes:
    """The object of these fields with members that it does not have yet, its own bytes unchanged."""
    if not members:
        return body
    end, view = body.rindex(b"}"), memoryview(body)
    return b"".join((view[:end], b"," if fields else b"", members, view[end:]))
