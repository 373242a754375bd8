"""The REST calls on a real control service and a real proxy."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.trace_service_pb2 import GetTraceRequest
from rolltrace.v1.worker_pb2 import WORKER_HEALTH_UNHEALTHY, Worker
from rolltrace_proxy.rest import control, pages
from rolltrace_proxy.rest.control import Control
from rolltrace_store.interface import Store
from rolltrace_store.session_key import session_key
from tests.control.conftest import controlling
from tests.proxy.answers import IDS, LOGPROBS, PROMPT, chat_answer, chat_chunks, ids
from tests.proxy.gateway import CHAT, gateway, put, seal, with_settings
from tests.proxy.rest.conftest import Json, Rest, resting
from tests.proxy.scripted import events, scripted, whole
from tests.store import samples

ADMIN = "an-admin-token-of-the-tests"


def rows(answer: Json) -> list[dict[str, Json]]:
    return cast("list[dict[str, Json]]", answer)


def row(answer: Json) -> dict[str, Json]:
    return cast("dict[str, Json]", answer)


def named(answer: Json, name: str) -> list[Json]:
    return [each[name] for each in rows(answer)]


async def test_a_session_is_made_and_shown(rest: Rest) -> None:
    made = await rest.post("/sessions", {"session_id": "harbor/hello:0", "metadata": {"task": 7}})
    base = f"{rest.gate.proxy.url}/sessions/harbor/hello:0/v1"
    assert row(made)["session_id"] == "harbor/hello:0"
    assert row(made)["url"] == base.removeprefix(rest.gate.proxy.url)
    assert "api_key" not in row(made)
    await rest.call("harbor/hello:0")
    shown = row(await rest.get("/sessions/harbor/hello:0"))
    assert (shown["session_id"], shown["trace_count"], shown["metadata"]) == (
        "harbor/hello:0",
        1,
        {"task": 7},
    )
    assert isinstance(shown["created_at"], float)
    assert (shown["state"], shown["incomplete"]) == ("open", False)


async def test_an_id_is_made_for_a_session_without_one(rest: Rest) -> None:
    made = [row(await rest.post("/sessions", body))["session_id"] for body in ({}, {"session_id": None}, b"")]
    assert len(set(made)) == 3
    for session_id in made:
        await rest.get(f"/sessions/{session_id}")


async def test_a_session_that_exists_takes_what_is_new(rest: Rest) -> None:
    await rest.call()
    sampling = {"temperature": 0.25, "max_tokens": 5}
    await rest.post("/sessions", {"session_id": "s", "metadata": {"a": 1}, "sampling_params": sampling})
    await rest.post("/sessions", {"session_id": "s", "metadata": {}})
    shown = row(await rest.get("/sessions/s"))
    assert (shown["trace_count"], shown["metadata"]) == (1, {"a": 1})
    await rest.call()
    assert rest.worker.seen[-1].json().items() >= sampling.items()
    await seal(rest.gate.store)
    await rest.post("/sessions", {"session_id": "s"})
    assert (await rest.ask("POST", "/sessions", {"session_id": "s", "metadata": {"b": 2}}))[0] == 409


async def test_sessions_are_listed_the_latest_first(rest: Rest) -> None:
    for name in ("b", "c", "a"):
        await rest.post("/sessions", {"session_id": name})
    assert named(await rest.get("/sessions"), "session_id") == ["a", "c", "b"]
    assert named(await rest.get("/sessions?limit=2"), "session_id") == ["a", "c"]
    assert await rest.get("/sessions?limit=0") == []
    since = row(await rest.get("/sessions/c"))["created_at"]
    assert named(await rest.get(f"/sessions?since={since!r}"), "session_id") == ["a", "c"]


async def test_a_long_list_of_sessions_is_whole(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "GROUP", 2)
    monkeypatch.setattr(control, "SESSIONS", 3)
    for name in "abcdefg":
        await rest.post("/sessions", {"session_id": name})
    assert named(await rest.get("/sessions"), "session_id") == list("gfedcba")
    assert named(await rest.get("/sessions?limit=3"), "session_id") == list("gfe")


async def test_a_deleted_session_is_gone_with_its_traces(rest: Rest) -> None:
    trace_id = await rest.call()
    assert await rest.ask("DELETE", "/sessions/s") == (200, {"deleted": 1})
    assert await rest.ask("DELETE", "/sessions/s") == (200, {"deleted": 0})
    assert (await rest.ask("GET", f"/traces/{trace_id}"))[0] == 404
    assert await rest.ask("GET", "/sessions/s") == (404, {"error": "Session s not found"})
    assert await rest.get("/sessions/s/traces") == []
    await rest.post("/sessions", {"session_id": "s"})
    await rest.call()
    assert len(rows(await rest.get("/sessions/s/traces"))) == 1


async def test_many_sessions_are_deleted_at_once(rest: Rest) -> None:
    for name in ("a", "a", "b"):
        await rest.call(name)
    body = {"session_ids": ["a", "nobody", "b", "a", "x/v1/y"]}
    assert await rest.post("/sessions/batch_delete", body) == {"deleted": 3}
    assert await rest.post("/sessions/batch_delete", {}) == {"deleted": 0}
    assert await rest.get("/sessions") == []


async def test_traces_are_read_in_the_order_of_the_calls(rest: Rest) -> None:
    made = [await rest.call("a/b") for _ in range(3)]
    traces = rows(await rest.get("/sessions/a/b/traces"))
    assert named(traces, "trace_id") == made
    assert {str(trace["session_id"]) for trace in traces} == {"a/b"}
    assert (traces[0]["prompt_token_ids"], traces[0]["completion_token_ids"]) == (PROMPT, IDS)
    assert (traces[0]["logprobs"], traces[0]["raw_request"]) == (LOGPROBS, CHAT)
    assert row(await rest.get(f"/traces/{made[1]}")) == traces[1]
    path = "/sessions/a/b/traces"
    assert named(await rest.get(f"{path}?limit=2"), "trace_id") == made[:2]
    assert await rest.get(f"{path}?limit=0") == []
    since = traces[1]["timestamp"]
    assert named(await rest.get(f"{path}?since={since!r}"), "trace_id") == made[1:]
    assert named(await rest.get(f"{path}?since={since!r}&limit=1"), "trace_id") == made[1:2]


async def test_a_trace_tells_when_its_answer_had_ended(rest: Rest) -> None:
    trace_id = await rest.call()
    trace, told = await rest.gate.trace(), row(await rest.get(f"/traces/{trace_id}"))
    assert told["timestamp"] == (trace.admit_time.ToNanoseconds() + trace.latency.ToNanoseconds()) / 1e9


async def test_traces_of_several_sessions_come_one_after_the_other(rest: Rest) -> None:
    made = {name: [await rest.call(name) for _ in range(2)] for name in ("a", "b", "c")}
    body = {"session_ids": ["c", "nobody", "a"]}
    assert named(await rest.post("/traces/query", body), "trace_id") == made["c"] + made["a"]
    assert named(await rest.post("/traces/query", {**body, "limit": 1}), "trace_id") == [
        made["c"][0],
        made["a"][0],
    ]
    assert await rest.post("/traces/query", {}) == []


async def test_a_stream_is_a_record_too(store: Store) -> None:
    async with resting(store, events(*chat_chunks())) as rest:
        await rest.call(stream=True)
        (trace,) = rows(await rest.get("/sessions/s/traces"))
    assert (trace["completion_token_ids"], trace["logprobs"], trace["streamed"]) == (IDS, LOGPROBS, True)
    assert trace["response_message"] == {"role": "assistant", "content": "t0t1t2"}
    assert trace["token_counts"] == {"prompt": len(PROMPT), "completion": len(IDS)}


async def test_calls_of_other_apis_are_shown_as_chat_completions(rest: Rest) -> None:
    async def ask(path: str, **body: object) -> str:
        async with rest.gate.http.post(rest.gate.url(path), json={"model": "m", **body}) as response:
            assert response.status == 200
            return str((await response.json())["id"])

    first = await ask("responses", input="hi", instructions="be brief")
    await ask("responses", input="and?", previous_response_id=first)
    await ask("messages", max_tokens=9, system="be kind", messages=[{"role": "user", "content": "hi"}])
    traces = rows(await rest.get("/sessions/s/traces"))
    said = [[(each["role"], each["content"]) for each in rows(trace["messages"])] for trace in traces]
    assert said == [
        [("system", "be brief"), ("user", "hi")],
        [("user", "hi"), ("assistant", "answer 0"), ("user", "and?")],
        [("system", "be kind"), ("user", "hi")],
    ]
    assert named(traces, "endpoint") == ["responses", "responses", "messages"]
    for trace in traces:
        assert trace["response_message"] == {"role": "assistant", "content": "answer 0"}
        assert await rest.get(f"/traces/{trace['trace_id']}") == trace


async def test_a_failed_call_says_so(store: Store) -> None:
    async with resting(store, whole({"error": {"message": "no"}}, status=400)) as rest:
        await rest.call()
        (trace,) = rows(await rest.get("/sessions/s/traces"))
    assert row(trace["metadata"])["status"] == "upstream_error"
    assert (trace["http_status"], trace["raw_response"]) == (400, {"error": {"message": "no"}})


async def test_a_large_session_comes_in_pieces_and_whole(rest: Rest) -> None:
    prompt, made = list(range(5000)), list[str]()
    for _ in range(60):
        prompt += range(100)
        body = json.dumps({"messages": [{"role": "user", "content": "x" * 40_000}]}).encode()
        trace = samples.trace("big")
        trace.prompt_token_ids, trace.request_json = ids(prompt), body
        await rest.gate.store.append_trace(trace)
        made.append(trace.trace_id)
    async with rest.gate.http.get(rest.gate.proxy.url + "/sessions/big/traces") as response:
        assert response.headers.get("transfer-encoding") == "chunked"
        traces = await response.json()
    assert named(traces, "trace_id") == made
    assert rows(traces)[-1]["prompt_token_ids"] == prompt


async def test_workers_come_and_go(rest: Rest) -> None:
    added = await rest.post(
        "/admin/workers", {"url": "http://10.0.0.7:8000/v1", "model_name": "m", "weight": 2}
    )
    assert added == {"worker_id": "10.0.0.7:8000", "url": "http://10.0.0.7:8000", "api_path": "/v1"}
    listed = rows(await rest.get("/admin/workers"))
    assert listed[0] == {
        "worker_id": "10.0.0.7:8000",
        "url": "http://10.0.0.7:8000",
        "api_path": "/v1",
        "model_name": "m",
        "weight": 2,
        "healthy": True,
        "active_requests": 0,
    }
    await put(rest.gate.store, Worker(worker_id="w-1", url=rest.worker.url, health=WORKER_HEALTH_UNHEALTHY))
    assert named(await rest.get("/admin/workers"), "healthy") == [True, False]
    removed = await rest.ask("DELETE", "/admin/workers/10.0.0.7:8000")
    assert removed == (200, {"removed": "10.0.0.7:8000"})
    assert named(await rest.get("/admin/workers"), "worker_id") == ["w-1"]
    for name in ("nobody", "no%20name"):
        assert (await rest.ask("DELETE", f"/admin/workers/{name}"))[0] == 404


async def test_a_worker_serves_as_soon_as_it_is_added(store: Store) -> None:
    async with resting(store) as rest:
        await store.write(lambda view: view.remove_worker("w-1"))
        await rest.post("/admin/workers", {"url": rest.worker.url + "/v1", "api_path": "/v1"})
        await rest.call()
        assert rest.worker.seen[-1].path == "/v1/chat/completions"


async def test_health_holds_what_programs_look_for(rest: Rest) -> None:
    assert row(await rest.get("/health"))["status"] == "ok"
    health = row(await rest.get("/health/workers"))
    assert (health["healthy"], health["total"]) == (1, 1)
    (worker,) = rows(health["workers"])
    assert (
        worker.items() >= {"url": rest.worker.url, "healthy": True, "active_requests": 0, "weight": 1}.items()
    )


async def test_the_policys_version_is_set_and_stamped(rest: Rest) -> None:
    nothing = {"weight_version": None, "policy_version": ""}
    assert await rest.get("/admin/weight_version") == nothing
    told = {"weight_version": 3, "policy_version": "3"}
    assert await rest.post("/admin/weight_version", {"weight_version": 3}) == told
    assert await rest.get("/admin/weight_version") == told
    await rest.call()
    assert named(await rest.get("/sessions/s/traces"), "weight_version") == [3]
    status, answer = await rest.ask("POST", "/admin/weight_version", {"weight_version": "x"})
    assert (status, answer) == (400, {"error": "invalid weight_version: 'x'"})


async def test_what_was_answered_is_readable_after_a_flush(rest: Rest) -> None:
    await rest.call()
    assert row(await rest.post("/admin/flush"))["status"] == "flushed"
    assert len(rows(await rest.get("/sessions/s/traces"))) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sessions", b"{", 400),
        ("POST", "/sessions", [], 400),
        ("POST", "/sessions", {"session_id": "a/v1/b"}, 400),
        ("POST", "/sessions", {"metadata": 1}, 400),
        ("POST", "/sessions/batch_delete", {"session_ids": "s"}, 400),
        ("POST", "/traces/query", {"session_ids": [], "since": "x"}, 400),
        ("POST", "/traces/query", {"session_ids": [], "limit": -1}, 400),
        ("POST", "/admin/workers", {}, 400),
        ("POST", "/admin/workers", {"url": "ftp://x"}, 400),
        ("POST", "/admin/workers", {"url": "http://h:1", "weight": -1}, 400),
        ("POST", "/admin/weight_version", {}, 400),
        ("GET", "/sessions/nobody", None, 404),
        ("GET", "/sessions/a//b", None, 404),
        ("GET", "/traces/nothing", None, 404),
        ("GET", f"/traces/{uuid.uuid4()}", None, 404),
        ("GET", "/sessions?since=x", None, 422),
        ("GET", "/sessions/s/traces?limit=x", None, 422),
        ("PUT", "/sessions", None, 405),
        ("POST", "/sessions/s/chat/completions", {}, 404),
    ],
)
async def test_an_error_says_what_is_wrong(
    rest: Rest, method: str, path: str, body: Json, status: int
) -> None:
    got, answer = await rest.ask(method, path, body)
    assert got == status
    assert row(answer).keys() == {"error"}
    assert len(str(row(answer)["error"])) > 10


async def test_another_url_of_a_known_worker_is_a_conflict(rest: Rest) -> None:
    status, answer = await rest.ask("POST", "/admin/workers", {"url": "http://other:1", "worker_id": "w-1"})
    assert status == 409
    assert "w-1" in str(row(answer)["error"])


async def test_a_body_that_is_too_large_is_refused(store: Store) -> None:
    async with resting(store, settings=with_settings(max_body_size=1000)) as rest:
        status, answer = await rest.ask("POST", "/sessions", {"metadata": {"x": "x" * 1000}})
    assert (status, list(row(answer))) == (413, ["error"])


async def test_a_control_that_goes_and_comes_is_found_again(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        rest = Rest(gate, worker)
        for _ in range(2):
            status, answer = await rest.ask("GET", "/sessions/s/traces")
            assert (status, list(row(answer))) == (503, ["error"])
            told = str(row(answer)["error"])
            assert "rolltrace up" in told
            assert str(store.folder) in told
            await rest.call()
            async with controlling(store):
                async with asyncio.timeout(30):
                    while (await rest.ask("GET", "/sessions"))[0] == 503:
                        await asyncio.sleep(0.05)
                assert rows(await rest.get("/sessions/s/traces"))


async def test_a_list_that_breaks_off_is_seen_to_have_no_end(
    rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rest.call()
    monkeypatch.setattr(pages, "PIECE", 1)

    async def broken(asked: Control, session_id: str, most: int | None) -> AsyncIterator[pb.Trace]:
        yield pb.Trace(trace_id="t")
        await asked.traces.GetTrace(GetTraceRequest(trace_id="no id"))

    monkeypatch.setattr(Control, "all_traces", broken)
    async with rest.gate.http.get(rest.gate.proxy.url + "/sessions/s/traces") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_drain_lets_a_call_end(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(asked: Control, session_id: str, most: int | None) -> AsyncIterator[pb.Trace]:
        begun.set()
        await go_on.wait()
        yield pb.Trace(trace_id="t", status=pb.CALL_STATUS_COMPLETED)

    monkeypatch.setattr(Control, "all_traces", slow)
    reading = asyncio.create_task(rest.get("/sessions/s/traces"))
    await begun.wait()
    draining = asyncio.create_task(rest.gate.proxy.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    go_on.set()
    assert named(await reading, "trace_id") == ["t"]
    await draining


async def test_the_admin_token_opens_what_belongs_to_no_session(store: Store) -> None:
    token = with_settings(auth="token", admin_token=ADMIN)
    async with resting(store, settings=token) as rest:
        admin = {"Authorization": f"Bearer {ADMIN}"}
        status, made = await rest.ask("POST", "/sessions", {"session_id": "s"}, **admin)
        key = str(row(made)["api_key"])
        assert (status, key) == (200, session_key(await store.read(lambda view: view.secret()), "s"))
        for path in ("/sessions", "/sessions/s/traces", "/admin/workers"):
            assert (await rest.ask("GET", path))[0] == 401
            assert (await rest.ask("GET", path, Authorization=f"Bearer {key}"))[0] == 403
            assert (await rest.ask("GET", path, **admin))[0] == 200
        assert (await rest.ask("GET", "/nothing"))[0] == 404


async def test_a_reload_reads_the_tokens_again(store: Store, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token-of-the-tests\n")
    settings = with_settings(auth="token", admin_token_file=str(tokens))
    async with resting(store, settings=settings) as rest:
        old, new = ({"Authorization": f"Bearer {name}-token-of-the-tests"} for name in ("first", "second"))
        tokens.write_text("second-token-of-the-tests\n")
        status, answer = await rest.ask("POST", "/admin/reload", **old)
        assert (status, row(answer)["status"]) == (200, "ok")
        assert (await rest.ask("GET", "/sessions", **old))[0] == 401
        tokens.unlink()
        status, answer = await rest.ask("POST", "/admin/reload", **new)
        assert (status, "not reloaded" in str(row(answer)["error"])) == (500, True)
        assert (await rest.ask("GET", "/sessions", **new))[0] == 200


async def test_the_first_calls_may_come_at_once(rest: Rest) -> None:
    assert await asyncio.gather(*(rest.get("/sessions") for _ in range(8))) == [[]] * 8
