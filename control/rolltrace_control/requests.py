"""Mutations that may come twice: the first answer of a request_id is kept, and given again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from rolltrace_store.interface import ReadView, Request, Store, WriteView

Response = TypeVar("Response", bound=Message)


def identify(rpc: str, message: Message) -> Request:
    """The identity of a request message that has a request_id."""
    fields = type(message)()
    fields.CopyFrom(message)
    request_id: str = getattr(message, "request_id")  # noqa: B009  # not every message has one
    fields.ClearField("request_id")
    digest = hashlib.sha256(fields.SerializeToString(deterministic=True)).digest()
    return Request(request_id, rpc, digest)


def answered(view: ReadView, request: Request, response: type[Response]) -> Response | None:
    """The answer that was given before. Raises RequestReusedError, InvalidArgumentError."""
    kept = view.remembered(request)
    return None if kept is None else response.FromString(kept)


async def once(
    store: Store, request: Request, response: type[Response], work: Callable[[WriteView], Response]
) -> Response:
    """Runs `work` in a transaction, or gives the answer that it gave before."""

    def run(view: WriteView) -> Response:
        kept = answered(view, request, response)
        if kept is not None:
            return kept
        made = work(view)
        view.remember(request, made.SerializeToString())
        return made

    return await store.write(run)
