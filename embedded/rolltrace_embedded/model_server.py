"""A handler as a worker: the trainer's coroutine behind the OpenAI API, on a port of this machine. A shell.

Rules. Everything runs in the loop in which it was started. A handler that raises is an error of the server to
the agent, and a traceback in the log. An agent that hangs up cancels the coroutine, or the async iterator.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import cast

import msgspec

from rolltrace_embedded import replies
from rolltrace_embedded.call import CHAT, COMPLETIONS, Call, call_of
from rolltrace_embedded.errors import AnswerError
from rolltrace_embedded.sample import Object
from rolltrace_proxy.http1.interface import BodyBrokenError, BodyTooLargeError, Request
from rolltrace_proxy.http1.listener import Listener

Handler = Callable[[dict[str, object]], object]
"""An async function, or an async generator function, of a request."""

HOST = "127.0.0.1"
MAX_BODY = 1 << 30
MAX_HEADER = 64 << 10
_END = object()
_JSON = (("Content-Type", "application/json"),)
_EVENTS = (("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache"))

log = logging.getLogger("rolltrace.handler")


class ModelServer:
    """Serves from `start` until `close`."""

    def __init__(self, handler: Handler, model: str) -> None:
        self._handler = handler
        self._model = model
        self._listener = Listener(self._serve, MAX_HEADER)

    async def start(self) -> str:
        """The worker's URL."""
        return f"http://{HOST}:{await self._listener.start(HOST, 0, None, shared_port=False)}"

    async def close(self) -> None:
        await self._listener.close()

    async def _serve(self, request: Request) -> None:
        path = request.target.partition("?")[0]
        try:
            await self._page(request, path)
        except ConnectionResetError:
            raise  # the agent has gone
        except AnswerError as error:
            await _fail(request, error)
        except Exception as error:
            log.exception("the handler failed")
            await _fail(request, AnswerError(f"{type(error).__name__}: {error}", 500))

    async def _page(self, request: Request, path: str) -> None:
        if request.method == "POST" and path in (CHAT, COMPLETIONS):
            await self._complete(request, path)
        elif request.method == "GET" and path == "/health":
            await request.reply(200, "", _JSON, b"{}")
        elif request.method == "GET" and path == "/v1/models":
            await _say(request, {"object": "list", "data": [self._card()]})
        else:
            raise AnswerError(f"the trainer's model answers {CHAT} and {COMPLETIONS} alone", 404)

    def _card(self) -> Object:
        """It answers as vLLM does, so that is what it says it is."""
        return {"id": self._model, "object": "model", "created": 0, "owned_by": "vllm"}

    async def _complete(self, request: Request, path: str) -> None:
        try:
            body = await request.body(MAX_BODY)
        except (BodyTooLargeError, BodyBrokenError) as error:
            raise AnswerError(f"the request cannot be read: {error}") from None
        call = call_of(path, body, uuid.uuid4().hex, int(time.time()))
        with _the_handlers_own():
            given = self._handler(call.request)
            if not hasattr(given, "__aiter__") and hasattr(given, "__await__"):
                given = await cast("Awaitable[object]", given)
        if hasattr(given, "__aiter__"):
            await _iterate(request, call, cast("AsyncIterator[object]", given))
        elif call.streamed:
            await _finish(request, list(replies.chunks_of(call, replies.whole(call, given))))
        else:
            await _say(request, replies.whole(call, given))


async def _iterate(request: Request, call: Call, given: AsyncIterator[object]) -> None:
    pieces, chunks = replies.Pieces(call), list[Object]()
    async with AsyncExitStack() as stack:
        if close := getattr(given, "aclose", None):
            stack.push_async_callback(close)
        while (piece := await _next(given)) is not _END:
            chunk = pieces.take(piece)
            if call.streamed:
                await _send(request, _event(chunk))
            else:
                chunks.append(chunk)
    chunks += pieces.end()
    if call.streamed:
        await _finish(request, chunks)
    else:
        await _say(request, replies.merged(call, chunks))


async def _next(given: AsyncIterator[object]) -> object:
    with _the_handlers_own():
        return await anext(given, _END)


@contextmanager
def _the_handlers_own() -> Generator[None]:
    """What a handler raises says nothing of the agent: its own lost connection, its own cancelled task."""
    try:
        yield
    except ConnectionResetError as error:
        raise ConnectionError(str(error)) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("it awaited what was cancelled") from error


async def _finish(request: Request, chunks: list[Object]) -> None:
    """The last chunks of a stream, or all; none is sent unless all can be."""
    last = b"".join(map(_event, chunks))
    if not request.status and not last:
        raise TypeError(f"the handler gave no piece; {replies.REMEDY}")
    await _send(request, last)
    await request.end(b"data: [DONE]\n\n")


async def _send(request: Request, events: bytes) -> None:
    if not request.status:
        await request.begin(200, "", _EVENTS)
    if events:
        await request.write(events)


def _event(chunk: Object) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


async def _fail(request: Request, error: AnswerError) -> None:
    """In a stream that has begun, as vLLM does: an event with the error, and the end."""
    if not request.status:
        await request.reply(error.status, "", _JSON, msgspec.json.encode(error.body()))
        return
    await request.end(_event(error.body()) + b"data: [DONE]\n\n")


async def _say(request: Request, body: Object) -> None:
    await request.reply(200, "", _JSON, msgspec.json.encode(body))
