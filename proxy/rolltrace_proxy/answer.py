"""How a call's request is sent and its answer read: the choice between capture and passing on untouched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rolltrace.v1 import session_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.call import Call


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent to the worker, and what is known of the request."""

    body: bytes
    model: str
    streamed: bool


class Answer(Protocol):
    """A worker's answer on its way to the agent."""

    @property
    def whole(self) -> bool:
        """Whether the agent gets it in one piece."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Takes the worker's bytes, gives the agent's."""
        ...

    def close(self) -> bytes:
        """What was held back until the call was recorded."""
        ...

    def record(self, trace: pb.Trace) -> None:
        """Puts what was captured into the trace."""
        ...


@dataclass(slots=True)
class Untouched:
    whole: bool

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""

    def record(self, trace: pb.Trace) -> None:
        trace.capture_gaps.add(kind=pb.CAPTURE_GAP_KIND_ENDPOINT, message="no tokens are captured here")


def plan_for(call: Call, method: str, session: session_pb2.Session | None, model: str) -> Plan:
    try:
        body = json.loads(call.request)
    except ValueError:
        body = {}
    return Plan(call.request, str(body.get("model", "")), body.get("stream") is True)


def answer_for(plan: Plan, status: int, headers: Mapping[str, str]) -> Answer:
    return Untouched(headers.get("Content-Type", "").startswith("application/json"))
