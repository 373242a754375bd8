"""Agents that misbehave: a clear 4xx, a connection that stays sound, and nothing under a wrong session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from rolltrace.v1.trace_pb2 import CALL_STATUS_REFUSED
from tests.faults.agents import Heard
from tests.faults.processes import Pair
from tests.faults.report import Tally, fault
from tests.faults.site import Site, watched
from tests.faults.test_workers import registered
from tests.faults.wire import BODY, Wire, post, request

CHAT = "/v1/chat/completions"
SMUGGLED = request(f"POST /sessions/evil{CHAT}")
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, the status, and who says so: a code of the gateway's own, or "" for the worker or the
    parser. `session_id`: under which it is recorded; "" for no record."""

    row: str
    name: str
    data: bytes
    status: int
    code: str = ""
    session_id: str = ""


def by_hand(row: str, name: str, *lines: str, body: bytes = b"") -> Case:
    """A request whose header stands as it is; the parser refuses it."""
    return Case(row, name, "\r\n".join([*lines, "", ""]).encode("latin-1") + body, 400)


def bad_id(name: str, raw: str, code: str = "invalid_session_id") -> Case:
    return Case("agent uses a bad session id", name, request(f"POST /sessions/{raw}{CHAT}"), 400, code)


TO_CHAT = f"POST /sessions/evil{CHAT} HTTP/1.1"
SMUGGLES = "agent smuggles, with both lengths"
PATHS = "agent sends absolute and encoded paths"
CASES = [
    Case("agent sends too much", "declared", post("much", b"x" * (2 << 20)), 413, "body_too_large", "much"),
    Case(
        "agent sends too much",
        "in chunks",
        request(f"POST /sessions/chunks{CHAT}", b"").replace(b"Content-Length: 0", CHUNKED.encode())
        + b"100001\r\n"
        + b"x" * 0x100001
        + b"\r\n0\r\n\r\n",
        413,
        "body_too_large",
        "chunks",
    ),
    Case("agent sends what is not JSON", "text", post("text", b"hello"), 400, session_id="text"),
    Case("agent sends what is not JSON", "nothing", post("nothing", b""), 400, session_id="nothing"),
    Case("agent sends what is not JSON", "a list", post("list", b"[]"), 400, session_id="list"),
    Case("agent sends what is not JSON", "cut off", post("cut", BODY[:-5]), 400, session_id="cut"),
    Case("agent sends bad UTF-8", "", post("utf", BODY.replace(b"hi", b"\xff\xfe")), 400, session_id="utf"),
    Case("agent nests deeply", "lists", post("deep", b"[" * 200_000), 400, session_id="deep"),
    Case(
        "agent nests deeply",
        "in a field",
        post("field", BODY[:-1] + b', "tools": ' + b'[{"a":' * 50_000 + b"1" + b"}]" * 50_000 + b"}"),
        400,
        session_id="field",
    ),
    Case(
        "agent sends huge headers",
        "many",
        post("huge", BODY, *[f"X-{n}: {n:090}" for n in range(99)]),
        431,
        "headers_too_large",
    ),
    Case(
        "agent sends huge headers", "one", post("huge", BODY, f"X: {'x' * 10_000}"), 431, "headers_too_large"
    ),
    Case(
        "agent sends huge headers",
        "beyond the parser",
        post("huge", BODY, f"X: {'x' * 100_000}"),
        431,
        "headers_too_large",
    ),
    bad_id("too long", "x" * 401),
    bad_id("an empty segment", "a//b"),
    bad_id("dots", "a/%2e%2e/evil"),
    bad_id("a control character", "a%00b"),
    bad_id("bad UTF-8", "a%ff", "invalid_path"),
    bad_id("half an escape", "a%2", "invalid_path"),
    bad_id("v1 within", "a%2Fv1%2Fevil"),
    Case("agent uses a wrong method", "PUT", request(f"PUT /sessions/put{CHAT}"), 405),
    Case("agent uses a wrong method", "DELETE", request(f"DELETE /sessions/del{CHAT}"), 405),
    Case("agent uses a wrong method", "a new one", request(f"BREW /sessions/brew{CHAT}"), 400),
    by_hand("agent uses a wrong method", "no method", f"{TO_CHAT[5:]}", "Host: g"),
    by_hand(
        SMUGGLES,
        "length first",
        TO_CHAT,
        "Host: g",
        "Content-Length: 4",
        CHUNKED,
        body=b"0\r\n\r\n" + SMUGGLED,
    ),
    by_hand(
        SMUGGLES,
        "chunked first",
        TO_CHAT,
        "Host: g",
        CHUNKED,
        "Content-Length: 4",
        body=b"0\r\n\r\n" + SMUGGLED,
    ),
    by_hand(
        SMUGGLES,
        "two lengths",
        TO_CHAT,
        "Host: g",
        "Content-Length: 2",
        "Content-Length: 9",
        body=b"{}" + SMUGGLED,
    ),
    by_hand(SMUGGLES, "another coding", TO_CHAT, "Host: g", "Transfer-Encoding: xchunked", body=SMUGGLED),
    by_hand(SMUGGLES, "a space", TO_CHAT, "Host: g", "Content-Length : 0", body=SMUGGLED),
    by_hand(SMUGGLES, "a signed length", TO_CHAT, "Host: g", "Content-Length: +2", body=b"{}" + SMUGGLED),
    by_hand(SMUGGLES, "a folded line", TO_CHAT, "Host: g", "Content-Length:", "  2", body=b"{}" + SMUGGLED),
    Case(
        SMUGGLES,
        "a bad chunk",
        f"POST /sessions/chunk{CHAT} HTTP/1.1\r\n{CHUNKED}\r\n\r\nzz\r\n".encode() + SMUGGLED,
        400,
        "invalid_request",
        "chunk",
    ),
    Case(PATHS, "absolute", request(f"POST http://gateway/sessions/abs{CHAT}"), 200, session_id="abs"),
    Case(PATHS, "encoded", request(f"POST /sessions/a%2Fb%20c{CHAT}"), 200, session_id="a/b c"),
    Case(PATHS, "twice encoded", request(f"POST /sessions/a%252Fb{CHAT}"), 200, session_id="a%2Fb"),
    Case(PATHS, "out of v1", request("POST /v1/../sessions/evil/v1/chat/completions"), 400, "invalid_path"),
    Case(PATHS, "out, encoded", request("POST /sessions/out/v1/%2e%2e%2fadmin"), 400, "invalid_path"),
    Case(PATHS, "a backslash", request("POST /sessions/out/v1/..%5cadmin"), 400, "invalid_path"),
    Case(PATHS, "authority", request("POST //evil/v1/chat/completions"), 404, "not_found"),
]


@pytest.fixture
async def site(impatient: Pair, demo_url: str, tally: Tally) -> AsyncGenerator[Site]:
    async with registered(impatient, demo=demo_url), watched(impatient, tally) as site:
        yield site


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=fault(case.row), id=f"{case.row}: {case.name}") for case in CASES]
)
async def test_an_agent_that_misbehaves(case: Case, site: Site) -> None:
    agent = await Wire.open(site.pair.port)
    if case.session_id:
        site.agents.heard.append(Heard(case.session_id))
    await agent.send(case.data)
    reply = await agent.reply()
    assert reply.status == case.status, reply
    if case.code:
        assert reply.error()["code"] == case.code
        assert reply.error()["message"]
    if case.session_id:
        trace = await site.trace(case.session_id)
        assert (trace.http_status, trace.trace_id) == (case.status, reply.trace_id())
    await check_connection(agent, site, case.name)


async def check_connection(agent: Wire, site: Site, name: str) -> None:
    """It is closed, or good for the next call; and so is a new one."""
    for connection in (agent, await Wire.open(site.pair.port)):
        if connection is agent and await connection.closed():
            continue
        session_id = f"next-{abs(hash(name))}"
        site.agents.heard.append(Heard(session_id))
        await connection.send(post(session_id))
        reply = await connection.reply()
        if connection is agent and not reply.status:
            continue
        assert (reply.status, b"chat.completion" in reply.body) == (200, True), reply
        await connection.hang_up()
    await agent.hang_up()


@fault("agent repeats keys")
@pytest.mark.parametrize(
    "twice",
    [
        b'{"model": "demo", "model": "other", ',
        b'{"model": "other", "model": "demo", ',
        b'{"stream": true, "stream": false, "model": "demo", ',
        b'{"return_token_ids": false, "return_token_ids": true, "model": "demo", ',
        b'{"logprobs": false, "logprobs": true, "logprobs": false, "model": "demo", ',
    ],
)
async def test_repeated_keys_mean_to_the_agent_what_they_mean_to_the_worker(
    twice: bytes, site: Site, demo_url: str
) -> None:
    body = twice + b'"seed": 1, "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}'
    session_id = f"twice-{abs(hash(twice))}"
    site.agents.heard.append(Heard(session_id))
    gateway, worker = await Wire.open(site.pair.port), await Wire.open(int(demo_url.rsplit(":", 1)[1]))
    await gateway.send(post(session_id, body))
    await worker.send(request(f"POST {CHAT}", body))
    reply, direct = await gateway.reply(), await worker.reply()
    assert reply.status == direct.status
    assert keys(json.loads(reply.body)) == keys(json.loads(direct.body))
    trace = await site.trace(session_id)
    assert trace.request_json == body
    for connection in (gateway, worker):
        await connection.hang_up()


def keys(answer: object) -> object:
    """The shape of an answer."""
    if isinstance(answer, dict):
        return {key: keys(value) for key, value in answer.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return type(answer).__name__


@fault("agent sends slowly")
async def test_a_slow_request_is_served(site: Site) -> None:
    agent, data = await Wire.open(site.pair.port), post("slow")
    site.agents.heard.append(Heard("slow"))
    for at in range(0, len(data), 20):
        await agent.send(data[at : at + 20])
        await asyncio.sleep(0.05)
    assert (await agent.reply()).status == 200
    await agent.hang_up()


@fault("agent sends slowly")
async def test_a_request_that_never_ends_is_refused(site: Site) -> None:
    agent = await Wire.open(site.pair.port)
    site.agents.heard.append(Heard("too-slow"))
    await agent.send(post("too-slow", BODY[:-1], length=len(BODY)))
    reply = await agent.reply()
    assert (reply.status, reply.error()["code"]) == (408, "request_timeout")
    trace = await site.trace("too-slow")
    assert (trace.status, trace.http_status) == (CALL_STATUS_REFUSED, 408)
    await check_connection(agent, site, "too-slow")
