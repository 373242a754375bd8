"""A server with SGLang's grammar and a model that always says the same.

It follows the source of SGLang 0.5.23: srt/entrypoints/openai/protocol.py (members, which are left out when
they are None), serving_chat.py and serving_completions.py (what is sent when, and what is refused),
sse_utils.py (a chunk of text), utils.py (log-probabilities), serving_base.py (errors), http_server.py of
srt/entrypoints (models, health, weights, pausing) and srt/utils/weight_versions.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web

Json = dict[str, Any]


class Token(NamedTuple):
    id: int
    text: str
    logprob: float


Said = tuple[Token, ...]
END = Token(2, "", -0.0625)
SAID: Said = (Token(11, "It", -0.5), Token(12, " is", -0.25), Token(13, "", -1.5), Token(14, " ü", -2.0), END)
CALL: Said = (
    Token(21, "<tool_call>", -0.125),
    Token(22, '{"city"', -0.75),
    Token(23, ': "Paris"}', -0.5),
    END,
)
EXPERTS = b"\x01\x00\x00\x00\x05\x00\x00\x00"
_ARGUMENTS = {22: '{"city"', 23: ': "Paris"}'}


class RefusedError(Exception):
    """A ValueError of the server's."""


@dataclass
class FakeSglang:
    """parser: whether it was started with --tool-call-parser. stop_after: of a stream, breaks off there."""

    parser: bool = True
    weight_version: str = "default"
    spans: list[Json] | None = None
    stop_after: int | None = None
    url: str = ""
    model: str = "sgl"
    seen: list[Json] = field(default_factory=list[Json])
    commands: list[tuple[str, Json]] = field(default_factory=list[tuple[str, Json]])

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.completions)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_get("/model_info", self.model_info)
        for path in ("/pause_generation", "/continue_generation", "/abort_request", "/update_weight_version"):
            app.router.add_post(path, self.command)
        return app

    async def models(self, _: web.Request) -> web.Response:
        card: Json = {"id": self.model, "object": "model", "created": 1, "owned_by": "sglang"}
        card |= {"root": self.model, "parent": None, "max_model_len": 4096}
        return web.json_response({"object": "list", "data": [card]})

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def model_info(self, _: web.Request) -> web.Response:
        return web.json_response({"model_path": self.model, "weight_version": self.weight_version})

    async def command(self, request: web.Request) -> web.Response:
        body: Json = await request.json()
        self.commands.append((request.path, body))
        if request.path == "/update_weight_version":
            self.weight_version = body["new_version"]
        return web.json_response({"status": "ok"})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked: Json = await request.json()
        self.seen.append(asked)
        try:
            _check_chat(asked)
        except RefusedError as error:
            return _refusal(str(error))
        calls = bool(asked.get("tools")) and self.parser
        choices = [CALL if calls else SAID] * asked.get("n", 1)
        if asked.get("stream"):
            return await self._stream(request, asked, self._chat_events(asked, choices, calls=calls))
        made = [_chat_choice(asked, index, said, calls=calls) for index, said in enumerate(choices)]
        return web.json_response(self._whole(asked, "chat.completion", made, choices, _ids(asked, choices)))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked: Json = await request.json()
        self.seen.append(asked)
        if not asked.get("prompt"):
            return _refusal("Prompt cannot be empty")
        choices = [SAID] * asked.get("n", 1)
        if asked.get("stream"):
            return await self._stream(request, asked, self._text_events(asked, choices))
        made = [
            _text_choice(asked, index, said, "".join(token.text for token in said))
            for index, said in enumerate(choices)
        ]
        for choice in made:
            choice |= {"finish_reason": "stop", "matched_stop": END.id}
        return web.json_response(self._whole(asked, "text_completion", made, choices, {}))

    def _whole(self, asked: Json, kind: str, made: list[Json], choices: list[Said], ids: Json) -> Json:
        metadata: Json = {"weight_version": self.weight_version}
        if self.spans is not None:
            metadata["weight_versions"] = self.spans
        answer = {"id": "r", "object": kind, "created": 1, "model": self.model, "choices": made}
        answer |= {"usage": _usage(asked, choices), "metadata": metadata}
        ext = ids | _experts(asked)
        return answer | ({"sglext": ext} if ext else {})

    def _chat_events(self, asked: Json, choices: list[Said], *, calls: bool) -> Iterator[Json]:
        for index in range(len(choices)):
            yield self._chunk([_delta(index, {"role": "assistant", "content": ""})])
        for place in range(len(choices[0])):
            for index, said in enumerate(choices):
                yield from self._chat_step(asked, index, said[place], calls=calls)
        for index in range(len(choices)):
            end = _delta(index, {}) | {
                "finish_reason": "tool_calls" if calls else "stop",
                "matched_stop": END.id,
            }
            yield self._chunk([end])
        if ext := _ids(asked, choices) | _experts(asked):
            yield self._chunk([]) | {"usage": None, "sglext": ext}
        if _counts(asked):
            yield self._chunk([]) | {"usage": _usage(asked, choices)}

    def _chat_step(self, asked: Json, index: int, token: Token, *, calls: bool) -> Iterator[Json]:
        logprobs = _chat_logprobs((token,)) if asked.get("logprobs") else None
        if calls and token.id in _ARGUMENTS:
            function: Json = {
                "name": "weather" if token.id == 22 else None,
                "arguments": _ARGUMENTS[token.id],
            }
            call: Json = {
                "id": "call_1" if token.id == 22 else None,
                "index": 0,
                "type": "function",
                "function": function,
            }
            delta: Json = {"role": None, "content": None, "reasoning_content": None, "tool_calls": [call]}
            yield self._chunk([_delta(index, {}) | {"delta": delta}]) | {"usage": None}
        elif token.text and not calls:
            yield self._chunk([_delta(index, {"content": token.text}) | {"logprobs": logprobs}])
            return
        if logprobs is not None and self.parser:
            yield self._chunk([_delta(index, {}) | {"logprobs": logprobs}])

    def _text_events(self, asked: Json, choices: list[Said]) -> Iterator[Json]:
        for place in range(len(choices[0])):
            for index, said in enumerate(choices):
                choice = _text_choice(
                    asked, index, said[place : place + 1], said[place].text, first=not place
                )
                if said[place] is END:
                    choice |= {"finish_reason": "stop", "matched_stop": END.id}
                yield self._chunk([choice], "text_completion") | {"usage": None}
        if ext := _experts(asked):
            yield self._chunk([], "text_completion") | {"usage": None, "sglext": ext}
        if _counts(asked):
            yield self._chunk([], "text_completion") | {"usage": _usage(asked, choices)}

    def _chunk(self, choices: list[Json], kind: str = "chat.completion.chunk") -> Json:
        return {"id": "r", "object": kind, "created": 1, "model": self.model, "choices": choices}

    async def _stream(self, request: web.Request, asked: Json, events: Iterator[Json]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(events):
            if number == self.stop_after:
                assert request.transport is not None
                request.transport.close()
                return response
            data = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
            await response.write(f"data: {data}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def _counts(asked: Json) -> bool:
    options: Json = asked.get("stream_options", {})
    return bool(options.get("include_usage"))


def prompt_of(asked: Json) -> list[int]:
    """The prompt's ids: what the agent said, letter by letter."""
    return list(asked["prompt"].encode() if "prompt" in asked else asked["messages"][-1]["content"].encode())


def _check_chat(asked: Json) -> None:
    if not asked.get("messages"):
        raise RefusedError("Messages cannot be empty.")
    for option in ("return_prompt_token_ids", "return_token_ids", "return_meta_info"):
        if asked.get("stream") and asked.get(option):
            raise RefusedError(f"{option} is not supported with streaming.")


def _refusal(message: str) -> web.Response:
    error = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    return web.json_response(error, status=400)


def _chat_logprobs(said: Said) -> Json:
    return {
        "content": [
            {"token": t.text, "bytes": list(t.text.encode()), "logprob": t.logprob, "top_logprobs": []}
            for t in said
        ]
    }


def _chat_choice(asked: Json, index: int, said: Said, *, calls: bool) -> Json:
    message: Json = {"role": "assistant", "content": "", "reasoning_content": None}
    if calls:
        function = {"name": "weather", "arguments": "".join(_ARGUMENTS.values())}
        message["tool_calls"] = [{"id": "call_1", "index": 0, "type": "function", "function": function}]
    else:
        message["content"] = "".join(token.text for token in said)
    choice: Json = {"index": index, "message": message}
    choice["logprobs"] = _chat_logprobs(said) if asked.get("logprobs") else None
    choice |= {"finish_reason": "tool_calls" if calls else "stop", "matched_stop": END.id}
    if asked.get("return_token_ids"):
        choice |= {"prompt_token_ids": prompt_of(asked), "response_token_ids": [token.id for token in said]}
    return choice


def _delta(index: int, said: Json) -> Json:
    delta: Json = {"reasoning_content": None} | said
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, "matched_stop": None}


def _text_choice(asked: Json, index: int, said: Said, text: str, *, first: bool = True) -> Json:
    echoed = [Token(id_, chr(id_), -3.0) for id_ in prompt_of(asked)] if asked.get("echo") and first else []
    choice: Json = {"index": index, "text": "".join(token.text for token in echoed) + text, "logprobs": None}
    if asked.get("logprobs") is not None:
        shown = [*(echoed if asked["logprobs"] else []), *said]
        logprobs: list[float | None] = [token.logprob for token in shown]
        if echoed and asked["logprobs"]:
            logprobs[0] = None
        choice["logprobs"] = {
            "text_offset": [-1] * len(shown),
            "token_logprobs": logprobs,
            "tokens": [token.text for token in shown],
            "top_logprobs": [],
        }
    choice |= {"finish_reason": None, "matched_stop": None}
    if asked.get("return_token_ids"):
        choice["token_ids"] = [token.id for token in said]
        if first:
            choice["prompt_token_ids"] = prompt_of(asked)
    return choice


def _ids(asked: Json, choices: list[Said]) -> Json:
    ext: Json = {}
    if asked.get("return_input_ids_in_sglext"):
        ext["input_ids"] = prompt_of(asked)
    if asked.get("return_output_ids_in_sglext"):
        ext["output_ids"] = [[token.id for token in said] for said in choices]
    return ext


def _experts(asked: Json) -> Json:
    return {"routed_experts": "AQAAAAUAAAA="} if asked.get("return_routed_experts") else {}


def _usage(asked: Json, choices: list[Said]) -> Json:
    prompt, sampled = len(prompt_of(asked)), sum(map(len, choices))
    usage: Json = {"prompt_tokens": prompt, "total_tokens": prompt + sampled, "completion_tokens": sampled}
    return usage | {"prompt_tokens_details": None, "reasoning_tokens": 0, "completion_tokens_details": None}


@asynccontextmanager
async def sglang(fake: FakeSglang | None = None) -> AsyncGenerator[FakeSglang, None]:
    """It runs on a free port."""
    fake = fake or FakeSglang()
    runner = web.AppRunner(fake.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
