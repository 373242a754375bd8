"""The request: what the worker is sent in place of the agent's body.

Rules. The session's enforced sampling parameters win over the agent's fields, the gateway's model over
both (on other endpoints only the model is replaced). Token ids and log-probabilities are asked for,
unless the agent asked by itself. All other members keep their order and their bytes; where only new
members come in, they are spliced in before the last brace and the body is not rebuilt. What is not a
JSON object goes on untouched: the worker refuses it better than we could.

An error that the agent would have got from the worker it must still get, and a text that it would have
seen it must still see. So nothing is asked for where vLLM would answer otherwise because of it:

- chat: top_logprobs or logprob_token_ids without logprobs is the agent's mistake, and logprobs mends it;
- completions: logprob_token_ids without logprobs is the same mistake;
- completions: echo leaves the prompt's text out of the answer once ids are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from msgspec import Raw, Struct
from msgspec.structs import replace

from rolltrace_proxy.raw_json import (
    ANYTHING,
    INTEGER,
    STRING,
    Object,
    given,
    read_member,
    read_object,
    write,
)

TOKEN_ENDPOINTS = frozenset({"chat/completions", "completions"})

# What each wish makes a worker put into its answer.
ID_KEYS = ("prompt_token_ids", "token_ids")
LOGPROB_KEYS = ("logprobs",)

_TRUE = Raw(b"true")
_FALSE = Raw(b"false")
_TELLING = frozenset({"return_token_ids", "logprobs", "top_logprobs", "logprob_token_ids", "echo", "n"})
"""The members of a request that decide what is asked for; most agents send none of them."""
_ALL_WISHES = {
    "chat/completions": b'"return_token_ids":true,"logprobs":true',
    "completions": b'"return_token_ids":true,"logprobs":0',
}


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
    # The members of the answer that are there because Rolltrace asked: set to null for the agent.
    added: tuple[str, ...] = ()
    # Why Rolltrace did not ask for tokens or log-probabilities; empty when it did.
    unasked: str = ""
    # Whether the prompt is repeated in the answer's text and log-probabilities (completions, echo).
    echoes: bool = False
    # How many choices the agent asked for; 0 where that is not said.
    choices: int = 0

    def sent(self) -> Rewrite:
        """What is still to be known once the worker answers: all but the body, which nothing then keeps."""
        return replace(self, body=b"")


def rewrite(
    endpoint: str, body: bytes, *, enforced: Mapping[str, object], model: str, untold: str = ""
) -> Rewrite:
    """What to send for the agent's body.

    endpoint is the path after "/v1/"; enforced the session's sampling parameters; model the gateway's own,
    or empty; untold why no tokens are asked for of an endpoint that may have some. Raises ValueError when an
    enforced value cannot be written as JSON.
    """
    captures = endpoint in TOKEN_ENDPOINTS
    fields = read_object(body)
    if captures and fields is not None and not (enforced or model) and _TELLING.isdisjoint(fields):
        return _asking_for_all(endpoint, body, fields)
    spliceable = fields is not None
    if fields is None:
        fields = _read_leniently(body)
    if fields is None:
        unasked = "the request is not a JSON object" if captures else untold
        return Rewrite(endpoint, body, "", streamed=False, captures=captures, unasked=unasked)
    chat = endpoint == "chat/completions"
    changes = _imposed(fields, enforced if captures else {}, model)
    unasked = _reason_not_to_ask(fields | changes, chat=chat) if captures else untold
    if captures and not unasked:
        changes |= _wishes(fields | changes, chat=chat)
    sent = fields | changes
    return Rewrite(
        endpoint,
        body=_splice(body, write(changes)[1:-1], fields)
        if spliceable and fields.keys().isdisjoint(changes)
        else _joined(sent),
        model=read_member(STRING, sent, "model") or "",
        streamed=sent.get("stream") == _TRUE,
        captures=captures,
        added=_added(fields, chat=chat) if captures else (),
        unasked=unasked,
        echoes=not chat and given(sent, "echo") == _TRUE,
        choices=(read_member(INTEGER, sent, "n") or 0) if chat else 0,
    )


def _asking_for_all(endpoint: str, body: bytes, fields: Object) -> Rewrite:
    """What becomes of a usual request to which nothing is imposed: the same, with fewer questions."""
    return Rewrite(
        endpoint,
        _splice(body, _ALL_WISHES[endpoint], fields),
        read_member(STRING, fields, "model") or "",
        fields.get("stream") == _TRUE,
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


def _reason_not_to_ask(fields: Object, *, chat: bool) -> str:
    dependent = ("top_logprobs", "logprob_token_ids") if chat else ("logprob_token_ids",)
    if _lacks_logprobs(fields, chat=chat):
        for key in dependent:
            if read_member(ANYTHING, fields, key):
                return f"{key} without logprobs is for the worker to refuse"
    if not chat and given(fields, "echo") not in (None, _FALSE):
        return "with echo, asking for ids takes the prompt's text out of the answer"
    return ""


def _wishes(fields: Object, *, chat: bool) -> Object:
    """The members that have to be added or replaced so that the worker gives tokens."""
    wishes: Object = {}
    if _lacks_ids(fields):
        wishes["return_token_ids"] = _TRUE
    if _lacks_logprobs(fields, chat=chat):
        wishes["logprobs"] = _TRUE if chat else Raw(b"0")
    return wishes


def _added(agent: Object, *, chat: bool) -> tuple[str, ...]:
    ids = ID_KEYS if _lacks_ids(agent) else ()
    return ids + LOGPROB_KEYS if _lacks_logprobs(agent, chat=chat) else ids


def _lacks_ids(fields: Object) -> bool:
    return given(fields, "return_token_ids") in (None, _FALSE)


def _lacks_logprobs(fields: Object, *, chat: bool) -> bool:
    """Completions count: there logprobs: 0 gives the sampled token's own, and false counts as 0."""
    value = given(fields, "logprobs")
    return value is None or (chat and value == _FALSE)


def _splice(body: bytes, members: bytes, fields: Object) -> bytes:
    """The object of these fields with members that it does not have yet, its own bytes unchanged."""
    if not members:
        return body
    end, view = body.rindex(b"}"), memoryview(body)
    return b"".join((view[:end], b"," if fields else b"", members, view[end:]))
