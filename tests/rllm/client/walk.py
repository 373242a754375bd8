"""Walks a gateway with rllm-model-gateway's published clients and prints what they saw, as a list of steps.

It runs in the environment of that package, which knows nothing of Rolltrace.

Usage: python walk.py GATEWAY_URL WORKER_URL

A step is {"step": NAME, "saw": VALUE}. What can't be the same twice is replaced by what it is: names that a
gateway makes by "trace 1", "made id 1", ..., times by "a time", URLs by their roles.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError
from rllm_model_gateway import AsyncGatewayClient, GatewayClient

SEED = {"model": "demo", "temperature": 0, "seed": 7, "max_tokens": 12}
HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    },
}
FORCED = {
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "max_tokens": 64,
}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("chat/completions", {"messages": HELLO}),
    "streamed": ("chat/completions", {"messages": HELLO, "stream": True}),
    "streamed with usage": (
        "chat/completions",
        {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "with log-probabilities": ("chat/completions", {"messages": HELLO, "logprobs": True}),
    "with a tool": ("chat/completions", {"messages": HELLO, **FORCED}),
    "with a tool, streamed": ("chat/completions", {"messages": HELLO, **FORCED, "stream": True}),
    "with two choices": ("chat/completions", {"messages": HELLO, "n": 2, "temperature": 1}),
    "of completions": ("completions", {"prompt": "Say hello."}),
    "that the worker refuses": ("chat/completions", {"messages": HELLO, "model": "unknown"}),
}
TIMES = ("created_at", "timestamp")
PATIENCE = 20.0


class Walk:
    """One client's way through a gateway. `ask` calls a method of the client by its name."""

    def __init__(self, kind: str, ask: Callable[..., Any], gateway: str, worker: str) -> None:
        self.kind = kind
        self.ask = ask
        self.gateway = gateway
        self.worker = worker
        self.steps: list[dict[str, Any]] = []
        self.http = httpx.Client(base_url=gateway, timeout=30)
        self.session = f"walk-{kind}"
        self.names: dict[str, str] = {}
        self.began = time.time()

    def step(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        """A call of the client's."""
        return self._note(f"{method}, {name}", lambda: self.ask(method, *args, **more))

    def list_step(self, name: str, method: str, *args: Any, **more: Any) -> None:
        """A call of the client's that gives a list; which members it has is all that is noted."""

        def which() -> Any:
            found = plain(self.ask(method, *args, **more))
            return [each.get("trace_id", each["session_id"]) for each in found]

        self._note(f"{method}, {name}", which)

    def http_step(self, name: str, method: str, path: str, **more: Any) -> Any:
        """A request that the client has no method for."""

        def request() -> Any:
            answer = self.http.request(method, path, **more)
            answer.raise_for_status()
            return answer.json()

        return self._note(f"{method} {path.replace(self.session, 'SESSION')}, {name}", request)

    def _note(self, name: str, work: Callable[[], Any]) -> Any:
        found: Any = None
        try:
            try:
                found = plain(work())
            except (httpx.ReadError, httpx.RemoteProtocolError):  # closed after an error of the server's
                found = plain(work())
            saw: Any = {"returned": self.masked(found)}
        except httpx.HTTPStatusError as error:
            saw = {
                "raised": "HTTPStatusError",
                "status": error.response.status_code,
                "body": self.body(error),
            }
        except (ValidationError, KeyError, httpx.HTTPError) as error:
            saw = {"raised": type(error).__name__}
        self.steps.append({"step": f"{self.kind}: {name}", "saw": saw})
        return found

    def body(self, error: httpx.HTTPStatusError) -> Any:
        try:
            return self.masked(error.response.json())
        except ValueError:
            return error.response.text

    def name(self, made: str, kind: str) -> None:
        self.names[made] = f"{kind} {sum(name.startswith(kind) for name in self.names.values()) + 1}"

    def masked(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self.masked(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.masked(each, key) for each in value]
        if key in TIMES and isinstance(value, float):
            return (
                "a time" if self.began - 120 < value < time.time() + 1 else f"{value} is no time of this walk"
            )
        if key == "latency_ms" and isinstance(value, float):
            return "a latency" if 0 < value < 60_000 else f"{value} is no latency"
        if key == "created" or (key == "id" and isinstance(value, str)):
            return f"some {key}"
        return self.text(value) if isinstance(value, str) else value

    def text(self, value: str) -> str:
        if value in self.names:
            return self.names[value]
        value = value.replace(self.gateway, "GATEWAY").replace(self.worker, "WORKER")
        return value.replace(self.worker.removeprefix("http://"), "HOST:PORT").replace(
            self.session, "SESSION"
        )

    # The way.

    def all(self) -> list[dict[str, Any]]:
        self.create()
        self.call()
        self.list()
        self.read()
        self.delete()
        self.workers()
        self.rest()
        return self.steps

    def create(self) -> None:
        made = self.step("without an id", "create_session")
        if isinstance(made, str):
            self.name(made, "made id")
            self.step("of one without calls", "get_session_info", made)
        self.step("with an id and metadata", "create_session", self.session, {"task": "t", "n": 3})
        self.step("after it", "get_session_info", self.session)
        self.step("of one that exists", "create_session", self.session, {"other": [1.5, None, {"a": True}]})
        self.step("whose metadata was replaced", "get_session_info", self.session)
        self.step("of one that exists, without metadata", "create_session", self.session)
        self.step("whose metadata was kept", "get_session_info", self.session)
        self.step("with a slash in the id", "create_session", f"{self.session}/a:0")
        self.step("with a slash in the id", "get_session_info", f"{self.session}/a:0")
        self.step("with metadata that is a text", "create_session", f"{self.session}-text", "text")
        self.step("of one whose metadata was a text", "get_session_info", f"{self.session}-text")
        self.step("of an unknown one", "get_session_info", "unknown")
        self.step("of any", "get_session_url", self.session)

    def call(self) -> None:
        """An agent's calls; their traces are there before it goes on."""
        url = f"{self.gateway}/sessions/{self.session}/v1/"
        for count, (name, (path, body)) in enumerate(CALLS.items(), 1):
            self._note(f"an agent's call {name}", lambda path=path, body=body: self.agent(url + path, body))
            self.until(count)
        for trace in self.http.get(f"/sessions/{self.session}/traces").json():
            self.name(trace["trace_id"], "trace")

    def agent(self, url: str, body: dict[str, Any]) -> Any:
        answer = self.http.post(url, json={**SEED, **body})
        if not answer.headers["content-type"].startswith("application/json"):
            return {"status": answer.status_code, "ends": answer.text.strip().rpartition("\n")[2]}
        choices = answer.json().get("choices", [])
        told = [[choice.get("message"), choice.get("text"), choice["finish_reason"]] for choice in choices]
        return {"status": answer.status_code, "choices": told}

    def until(self, count: int) -> None:
        """Until so many traces are there; some gateways write them after they have answered."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self.http.get(f"/sessions/{self.session}").json()
            if answer.get("trace_count", 0) >= count:
                return
            time.sleep(0.02)

    def list(self) -> None:
        mine = [each for each in self.ask("list_sessions") if each["session_id"] == self.session]
        self._note("list_sessions, of the session with calls", lambda: mine)
        self.list_step("all", "list_sessions")
        self.list_step("with a limit", "list_sessions", limit=1)
        self.list_step("with a limit of 0", "list_sessions", limit=0)
        self.list_step("since tomorrow", "list_sessions", since=time.time() + 86_400)
        self.list_step("with a limit that is none", "list_sessions", limit="many")
        self.list_step("with a time that is none", "list_sessions", since="yesterday")
        self.step("with calls", "get_session_info", self.session)

    def read(self) -> None:
        traces = plain(self.ask("get_session_traces", self.session))
        for name, trace in zip(CALLS, traces, strict=True):
            self._note(f"get_session_traces, of the call {name}", lambda trace=trace: trace)
        ask = "get_session_traces"
        self.list_step("all", ask, self.session)
        self.list_step("with a limit", ask, self.session, limit=2)
        self.list_step("with a limit of 0", ask, self.session, limit=0)
        self.list_step("with a negative limit", ask, self.session, limit=-1)
        self.list_step("since tomorrow", ask, self.session, since=time.time() + 86_400)
        self.list_step("since the last", ask, self.session, since=traces[-1]["timestamp"], limit=3)
        self.list_step("of an unknown session", ask, "unknown")
        self.list_step("with a limit that is none", ask, self.session, limit="many")
        self.list_step("with a time that is none", ask, self.session, since="yesterday")
        self.step("of the call whole", "get_trace", traces[0]["trace_id"])
        self.step("that is unknown", "get_trace", "unknown")
        query = {"session_ids": [self.session, "unknown"], "limit": 1}
        self.http_step("of the call whole", "POST", "/traces/query", json=query)
        self.http_step("nothing", "POST", "/traces/query", json={})
        self.http_step("a text", "POST", "/traces/query", json={"session_ids": self.session[:1]})

    def delete(self) -> None:
        self.step("with its traces", "delete_session", self.session)
        self.step("of a deleted one", "get_session_info", self.session)
        self.step("of a deleted session", "get_session_traces", self.session)
        self.step("again", "delete_session", self.session)
        self.step("of an unknown one", "delete_session", "unknown")
        url = f"{self.gateway}/sessions/{self.session}/v1/chat/completions"
        self._note("a late call of a deleted session", lambda: self.agent(url, {"messages": HELLO}))
        self.step("of a deleted one", "create_session", self.session, {"again": True})
        self._note("a call of one made again", lambda: self.agent(url, {"messages": HELLO}))
        self.until(1)
        self.step("made again", "get_session_info", self.session)

    def workers(self) -> None:
        self.step("as started", "list_workers")
        other = "http://127.0.0.1:9"
        added = self.step("that is new", "add_worker", other, model_name="m", weight=2)
        if isinstance(added, str):
            self.name(added, "made worker")
        self.step("after one was added", "list_workers")
        self.step("that is known", "remove_worker", added)
        self.step("after it was removed", "list_workers")
        self.step("that is unknown", "remove_worker", added)
        self.step("without a url", "add_worker", "")
        self.step("with a weight that is none", "add_worker", other, weight="heavy")
        self.step("with a negative weight", "add_worker", other, weight=-1)
        self.step("that is no url", "add_worker", "nowhere")
        self.step("after bad ones", "list_workers")
        for row in self.http.get("/admin/workers").json():
            if row["url"] in (other, "nowhere"):
                self.http.delete(f"/admin/workers/{row['worker_id']}")
        body = {"url": f"{other}/openai/v2", "worker_id": "named"}
        self.http_step("with a path and an id", "POST", "/admin/workers", json=body)
        self.http_step("which was named", "DELETE", "/admin/workers/named")

    def rest(self) -> None:
        self.step("once all was answered", "flush")
        self.step("of the gateway", "health")
        self.http_step("of the workers", "GET", "/health/workers")
        self.http_step("what there is to read", "POST", "/admin/reload")
        self.http_step("that is no JSON", "POST", "/sessions", content=b"{")
        self.http_step("that is a list", "POST", "/sessions", json=[])
        self.http_step("with an id that is none", "POST", "/sessions", json={"session_id": 1})
        self.http_step("which takes another method", "PUT", "/sessions", json={})
        self.http_step("which is not there", "GET", "/nothing")
        self.step("to the end", "close")


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def main() -> None:
    gateway, worker = sys.argv[1:]
    client = GatewayClient(gateway)
    steps = Walk(
        "GatewayClient", lambda name, *args, **more: getattr(client, name)(*args, **more), gateway, worker
    ).all()
    with asyncio.Runner() as runner:
        with_async = AsyncGatewayClient(gateway)

        def ask(name: str, *args: Any, **more: Any) -> Any:
            found = getattr(with_async, name)(*args, **more)
            return runner.run(found) if asyncio.iscoroutine(found) else found

        steps += Walk("AsyncGatewayClient", ask, gateway, worker).all()
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
