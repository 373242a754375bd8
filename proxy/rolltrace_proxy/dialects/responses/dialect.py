"""The Responses API as the proxy sees it."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Raw

from rolltrace_proxy.dialects.interface import Find, NotTranslatableError, Referring, Reply, Translation
from rolltrace_proxy.dialects.responses.again import stream
from rolltrace_proxy.dialects.responses.answer import Asked, answer
from rolltrace_proxy.dialects.responses.echo import echo
from rolltrace_proxy.dialects.responses.errors import error_body
from rolltrace_proxy.dialects.responses.history import refers, resolved
from rolltrace_proxy.dialects.responses.ids import response_id
from rolltrace_proxy.dialects.responses.items import input_items
from rolltrace_proxy.dialects.responses.request import chat_body, check_expressible, wants_logprobs
from rolltrace_proxy.dialects.responses.stream import ResponseStream
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.raw_json import Object, read_object


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """A Translation."""

    body: bytes
    asked: Asked

    def whole(self, body: bytes) -> bytes:
        return answer(body, self.asked)

    def error(self, status: int, body: bytes) -> bytes:
        return error_body(body)

    def reply(self) -> Reply:
        return ResponseStream(self.asked)


class Responses:
    """A Dialect."""

    def translate(self, body: bytes, trace_id: str) -> Translation | Referring:
        fields = read_object(body)
        if fields is None:
            raise NotTranslatableError("the request is not a JSON object")
        check_expressible(fields)
        items = input_items(fields)
        if not refers(fields, items):
            return _translated(fields, items, trace_id)

        def look_back(find: Find) -> Translation:
            return _translated(fields, resolved(fields, items, find), trace_id)

        return Referring(look_back)

    def refusal(self, refused: Refused) -> bytes:
        return refused.body()

    def error(self, status: int, body: bytes, trace_id: str, untold: str) -> bytes:
        return body

    def stream(self, answer: bytes) -> bytes | None:
        return stream(answer)


def _translated(fields: Object, items: list[Object], trace_id: str) -> Translation:
    shows_reasoning = fields.get("include_reasoning") != Raw(b"false")
    asked = Asked(
        response_id(trace_id),
        echo(fields),
        shows_logprobs=wants_logprobs(fields) and shows_reasoning,
        shows_reasoning=shows_reasoning,
    )
    return ResponseCall(chat_body(fields, items), asked)
