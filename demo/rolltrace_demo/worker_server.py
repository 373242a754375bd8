"""The demo worker as a server: it moves bytes and time, and decides nothing about tokens or shapes.

A client that hangs up cancels its handler, and with it the generation; `GET /debug/state` counts
that. Stopping the worker does not wait for answers under way: their connections just end, as they
do when a worker dies.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import msgspec
from aiohttp import web

from rolltrace_demo.answer_shape import FINGERPRINT, AnswerHead, JsonObject, WireAnswer
from rolltrace_demo.byte_tokens import encode
from rolltrace_demo.chat_answer import ChatAnswer
from rolltrace_demo.chat_template import render
from rolltrace_demo.choice_run import ChunkPacer, Step, engine_turns
from rolltrace_demo.completion_answer import CompletionAnswer
from rolltrace_demo.demo_model import demo_model
from rolltrace_demo.openai_requests import (
    ChatRequest,
    CompletionRequest,
    RequestError,
    TokenizeRequest,
    check_model,
    parse_request,
)
from rolltrace_demo.request_plan import plan_chat, plan_completion

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY = 256 * 1024 * 1024
_SHUTDOWN_TIMEOUT = 0.001  # aiohttp takes 0 for "wait without end"


@dataclass(slots=True)
class WorkerState:
    """Calls that reached the sampler, by how they stand; `aborted` ones lost their client."""

    running: int = 0
    finished: int = 0
    aborted: int = 0
    sampled_tokens: int = 0

    @contextmanager
    def call(self) -> Generator[None, None, None]:
        self.running += 1
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise
        else:
            self.finished += 1
        finally:
            self.running -= 1


@dataclass(kw_only=True)
class DemoWorker:
    """`async with DemoWorker() as worker:` serves at `worker.url` until the block ends.

    `token_delay` is the pause before every token, `keep_alive` the silence in a stream after which
    a comment is sent (0: none), both in seconds. `api_key` is the bearer token that /v1 asks for.
    """

    host: str = "127.0.0.1"
    port: int = 0
    model: str = "demo"
    max_model_len: int = 131072
    stream_interval: int = 1
    token_delay: float = 0.0
    keep_alive: float = 0.0
    api_key: str | None = None
    state: WorkerState = field(default_factory=WorkerState, init=False)
    _runner: web.AppRunner | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> "DemoWorker":
        self._model = demo_model()
        self._started = int(time.time())
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[self._guard])
        app.add_routes(self._routes())
        runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )
        self._runner = runner
        try:
            await runner.setup()
            await web.TCPSite(runner, self.host, self.port).start()
        except BaseException:
            await self.stop()
            raise
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Closes every connection at once, in the middle of whatever it carries."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/completions", self._completion),
            web.get("/v1/models", self._models),
            web.post("/tokenize", self._tokenize),
            web.get("/health", self._health),
            web.get("/version", self._version),
            web.get("/debug/state", self._debug_state),
        ]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.api_key and request.path.startswith("/v1") and key != self.api_key:
            return _json({"error": "Unauthorized"}, 401)
        try:
            return await handler(request)
        except RequestError as error:
            return _json(error.body(), error.status)
        except web.HTTPException as error:
            return _json({"detail": error.reason}, error.status)
        except ConnectionError as gone:  # the client's, between two steps; aiohttp would log a traceback
            raise asyncio.CancelledError from gone

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = parse_request(await request.read(), ChatRequest)
        check_model(asked.model, self.model)
        plan = plan_chat(asked, self.max_model_len)
        return await self._answer(request, ChatAnswer(self._head(), asked, plan), bool(asked.stream))

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        asked = parse_request(await request.read(), CompletionRequest)
        check_model(asked.model, self.model)
        plan = plan_completion(asked, self.max_model_len)
        answer = CompletionAnswer(self._head(), asked, plan)
        return await self._answer(request, answer, bool(asked.stream))

    async def _answer(self, request: web.Request, answer: WireAnswer, stream: bool) -> web.StreamResponse:
        with self.state.call():
            return await (self._stream(request, answer) if stream else self._whole(answer))

    async def _whole(self, answer: WireAnswer) -> web.StreamResponse:
        runs = answer.plan.choices(self._model)
        steps: list[list[Step]] = [[] for _ in runs]
        for turn in engine_turns(runs):
            await asyncio.sleep(self.token_delay)
            self.state.sampled_tokens += len(turn)
            for choice, step in turn.items():
                steps[choice].append(step)
        return _json(answer.body(steps))

    async def _stream(self, request: web.Request, answer: WireAnswer) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await _send(response, answer.opening())
        pacer = ChunkPacer(self.stream_interval)
        for turn in engine_turns(answer.plan.choices(self._model)):
            await self._pause(response)
            self.state.sampled_tokens += len(turn)
            ready = ((choice, pacer.push(choice, step)) for choice, step in turn.items())
            chunks = (answer.chunk(choice, steps) for choice, steps in ready if steps)
            await _send(response, [chunk for chunk in chunks if chunk])
        await _send(response, answer.closing())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _pause(self, response: web.StreamResponse) -> None:
        left = self.token_delay
        while 0 < self.keep_alive < left:
            await asyncio.sleep(self.keep_alive)
            await response.write(b": keep-alive\n\n")
            left -= self.keep_alive
        await asyncio.sleep(left)

    async def _models(self, _: web.Request) -> web.Response:
        model: JsonObject = {
            "id": self.model,
            "object": "model",
            "created": self._started,
            "owned_by": "vllm",  # its wire format, by which a gateway knows how to ask
            "root": self.model,
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [],
        }
        return _json({"object": "list", "data": [model]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        asked = parse_request(await request.read(), TokenizeRequest)
        check_model(asked.model, self.model)
        text = asked.prompt or ""
        if asked.messages is not None:
            text = render(asked.messages, asked.tools or (), asked.add_generation_prompt)
        ids = encode(text)
        shape: JsonObject = {"count": len(ids), "max_model_len": self.max_model_len}
        return _json(shape | {"tokens": ids, "token_strs": None})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": FINGERPRINT})

    async def _debug_state(self, _: web.Request) -> web.Response:
        return _json(asdict(self.state))

    def _head(self) -> AnswerHead:
        return AnswerHead(uuid.uuid4().hex[:16], int(time.time()), self.model)


def _json(body: JsonObject, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


async def _send(response: web.StreamResponse, events: list[JsonObject]) -> None:
    if events:
        frames = (b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
        await response.write(b"".join(frames))
