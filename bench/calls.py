"""One call as the proxy's pure parts see it: request, answer, trace, stored bytes. No socket, no disk."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from bench.compare import worker
from rolltrace.digest import trace_digest
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.answer import Answer, answer_for, fill
from rolltrace_proxy.prompts import ReadPrompt
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.tokens import pack_text
from rolltrace_store.history import Encoded, Histories

MOST = 1 << 26
TEXT = "the agent's history so far and then "


@dataclass(frozen=True)
class Exchanged:
    """What an agent sent, and the pieces of the answer as they were read. `kind` is its content type."""

    request: bytes
    pieces: list[bytes]
    kind: str


def exchanged(prompt: int, tokens: int, *, streamed: bool) -> Exchanged:
    """An answer of so many ids; whole, or a chunk a piece."""
    message = {"role": "user", "content": TEXT * (prompt * worker.BYTES_A_TOKEN // len(TEXT))}
    body = json.dumps({"model": "bench", "messages": [message], "stream": streamed}).encode()
    if not streamed:
        return Exchanged(body, [worker.whole(prompt, tokens).partition(b"\r\n\r\n")[2]], "application/json")
    said = [event.partition(b"\r\n")[2] for event in worker.events(prompt, tokens, usage=False)]
    pieces = [*(event[:-2] for event in said[:-1]), b"data: [DONE]\n\n"]
    return Exchanged(body, pieces, "text/event-stream")


def planned(call: Exchanged, *, enforced: bool = True) -> Rewrite:
    """enforced: the session has sampling parameters of its own."""
    parameters = {"temperature": 1.0} if enforced else {}
    return rewrite("chat/completions", call.request, enforced=parameters, model="")


def read(plan: Rewrite, call: Exchanged, read_prompt: ReadPrompt = pack_text) -> Answer:
    """The answer, all of it fed. read_prompt: of a session's Prompts, or as if it had none before."""
    answer = answer_for(plan, 200, [("Content-Type", call.kind)], MOST, read_prompt)
    for piece in call.pieces:
        answer.feed(piece)
    return answer


def traced(number: int, plan: Rewrite, call: Exchanged, answer: Answer) -> pb.Trace:
    trace = pb.Trace(
        trace_id=str(uuid.UUID(int=number)),
        session_id="s-1",
        endpoint="chat/completions",
        streamed=plan.streamed,
        status=pb.CALL_STATUS_COMPLETED,
        http_status=200,
        request_json=call.request,
    )
    fill(trace, answer.capture())
    answer.close()
    return trace


def histories() -> Histories:
    """Of an empty store."""
    return Histories(lambda session_id, from_index: [])


def whole_way(number: int, call: Exchanged, known: Histories) -> Encoded:
    """From the agent's bytes to the bytes that are stored, as turn `number` of one session."""
    plan = planned(call)
    trace = traced(number, plan, call, read(plan, call))
    trace_digest(trace)
    return known.encode(trace)
