"""Requests that name earlier responses by their ids."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.dialects.interface import Referring
from rolltrace_proxy.dialects.responses import history
from rolltrace_proxy.dialects.responses.dialect import Responses
from rolltrace_proxy.dialects.responses.ids import item_id, response_id, trace_id
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import gateway
from tests.proxy.scripted import ScriptedWorker, scripted, whole

Json = Any  # what json.loads gives

OURS = "01234567-89ab-4cde-8f01-23456789abcd"


def test_ids_lead_back_to_their_traces() -> None:
    response = response_id(OURS)
    assert response == "resp_0123456789ab4cde8f0123456789abcd"
    assert trace_id(response) == trace_id(item_id(response, "msg", 300)) == OURS
    for other in ("", "resp_none", "resp_83bd872ad728b988", OURS, "resp_" + 31 * "0", "fc_" + 32 * "G"):
        assert trace_id(other) == ""


def uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def turn(number: int, **fields: Json) -> pb.Trace:
    """The call that is number `number`: it goes on from the one before."""
    previous = {"previous_response_id": response_id(uuid(number - 1))} if number else {}
    own = response_id(uuid(number))
    part = {"type": "output_text", "text": f"said {number}"}
    item = {"id": item_id(own, "msg", 0), "type": "message", "role": "assistant", "content": [part]}
    return pb.Trace(
        trace_id=uuid(number),
        status=pb.CALL_STATUS_COMPLETED,
        request_json=json.dumps(
            {"input": f"asked {number}", "instructions": "old", **previous, **fields}
        ).encode(),
        response_json=json.dumps({"id": own, "object": "response", "output": [item]}).encode(),
    )


def resolved(traces: list[pb.Trace], **fields: Json) -> list[Json]:
    """The messages of a request in a session with these traces."""
    made = Responses().translate(json.dumps({"input": "now", **fields}).encode(), OURS)
    assert isinstance(made, Referring)
    known = {trace.trace_id: trace for trace in traces}
    messages: list[Json] = json.loads(made.translate(known.get).body)["messages"]
    return messages


def said(number: int) -> list[Json]:
    return [
        {"role": "user", "content": f"asked {number}"},
        {"role": "assistant", "content": f"said {number}"},
    ]


def test_all_earlier_turns_stand_before_the_request() -> None:
    messages = resolved(
        [turn(n) for n in range(3)], previous_response_id=response_id(uuid(2)), instructions="new"
    )
    now = {"role": "user", "content": "now"}
    assert messages == [{"role": "system", "content": "new"}, *said(0), *said(1), *said(2), now]


def test_a_reference_is_the_item_that_it_names() -> None:
    item = {"type": "item_reference", "id": item_id(response_id(uuid(0)), "msg", 0)}
    for reference in (item, {"id": item["id"]}):
        assert resolved([turn(0)], input=[reference, {"role": "user", "content": "now"}]) == [
            said(0)[1],
            {"role": "user", "content": "now"},
        ]


def refused(traces: list[pb.Trace], **fields: Json) -> Refused:
    with pytest.raises(Refused) as raised:
        resolved(traces, **fields)
    assert raised.value.status == 400
    return raised.value


@pytest.mark.parametrize(
    "trace",
    [
        None,
        turn(0, store=False),
        pb.Trace(trace_id=uuid(0), status=pb.CALL_STATUS_COMPLETED, request_json=b"{}", response_json=b"x"),
        pb.Trace(trace_id=uuid(0), status=pb.CALL_STATUS_COMPLETED, request_json=b"{}", response_json=b"{}"),
        pb.Trace(trace_id=uuid(0), status=pb.CALL_STATUS_UPSTREAM_ERROR, response_json=turn(0).response_json),
    ],
)
def test_what_is_not_there(trace: pb.Trace | None) -> None:
    known = [] if trace is None else [trace]
    why = refused(known, previous_response_id=response_id(uuid(0)))
    assert (why.fault, why.param) == (Fault.PREVIOUS_NOT_FOUND, "previous_response_id")
    assert json.loads(why.body())["error"] == {
        "message": f"Previous response with id '{response_id(uuid(0))}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }
    why = refused(known, input=[{"type": "item_reference", "id": item_id(response_id(uuid(0)), "msg", 0)}])
    assert (why.fault, why.param) == (Fault.INVALID_REQUEST, "input")


def test_a_gap_in_the_chain_is_told() -> None:
    why = refused([turn(0), turn(2)], previous_response_id=response_id(uuid(2)))
    assert response_id(uuid(1)) in why.message


def test_how_far_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = [turn(n) for n in range(4)]
    previous = response_id(uuid(3))
    monkeypatch.setattr(history, "MAX_TURNS", 4)
    assert len(resolved(turns, previous_response_id=previous)) == 9
    monkeypatch.setattr(history, "MAX_TURNS", 3)
    assert "3 responses" in refused(turns, previous_response_id=previous).message
    monkeypatch.setattr(history, "MAX_TURNS", 4)
    monkeypatch.setattr(history, "MAX_BYTES", 100)
    assert "100 bytes" in refused(turns, previous_response_id=previous).message


def test_how_much_references_name_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them costs a few bytes to send, and each could name a large answer: the same one, or others."""
    turns = {turn(n).trace_id: turn(n) for n in range(4)}
    looked: list[str] = []

    def find(name: str) -> pb.Trace | None:
        looked.append(name)
        return turns.get(name)

    def ask(*numbers: int) -> Json:
        items = [{"type": "item_reference", "id": item_id(response_id(uuid(n)), "msg", 0)} for n in numbers]
        made = Responses().translate(json.dumps({"input": items}).encode(), OURS)
        assert isinstance(made, Referring)
        return json.loads(made.translate(find).body)["messages"]

    assert len(ask(*[0] * 50)) == 50
    assert looked == [uuid(0)]
    monkeypatch.setattr(history, "MAX_BYTES", 1000)
    assert len(ask(0, 1)) == 2
    for numbers in ([0] * 50, [0, 1, 2, 3]):
        with pytest.raises(Refused, match="1000 bytes"):
            ask(*numbers)


def test_a_response_that_names_itself_ends() -> None:
    trace = turn(1, previous_response_id=response_id(uuid(1)))
    assert "go" in refused([trace], previous_response_id=response_id(uuid(1))).message


@asynccontextmanager
async def served(store: Store) -> AsyncGenerator[tuple[ScriptedWorker, AsyncOpenAI, AsyncOpenAI]]:
    """A worker, and the agents of two sessions."""
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        url = f"{gate.proxy.url}/sessions"
        async with (
            AsyncOpenAI(base_url=f"{url}/s/v1", api_key="none", max_retries=0) as first,
            AsyncOpenAI(base_url=f"{url}/other/v1", api_key="none", max_retries=0) as second,
        ):
            yield worker, first, second


async def test_an_agent_goes_on_from_its_last_response(store: Store) -> None:
    async with served(store) as (worker, client, _):
        first = await client.responses.create(model="m", input="one", instructions="Be terse.")
        second = await client.responses.create(model="m", input="two", previous_response_id=first.id)
        third = await client.responses.create(model="m", input="three", previous_response_id=second.id)
    assert third.previous_response_id == second.id
    assert worker.seen[2].json()["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "answer 0"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "answer 0"},
        {"role": "user", "content": "three"},
    ]


async def test_a_session_does_not_know_another_s_responses(store: Store) -> None:
    async with served(store) as (worker, client, other):
        first = await client.responses.create(model="m", input="one")
        with pytest.raises(BadRequestError) as raised:
            await other.responses.create(model="m", input="two", previous_response_id=first.id)
        with pytest.raises(BadRequestError, match="not found"):
            await client.responses.create(model="m", input="two", previous_response_id="resp_none")
    assert (raised.value.code, raised.value.param) == ("previous_response_not_found", "previous_response_id")
    assert len(worker.seen) == 1
