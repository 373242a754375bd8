"""Values: how messages read, with numpy and without."""

from __future__ import annotations

import array
import math
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from rolltrace.v1 import (
    event_pb2,
    gateway_service_pb2,
    policy_service_pb2,
    session_pb2,
    session_service_pb2,
    trace_pb2,
    trace_service_pb2,
    worker_pb2,
)
from rolltrace_client import (
    CallStatus,
    CaptureGapKind,
    Completion,
    Cursor,
    DeleteReason,
    EventKind,
    IncompleteKind,
    IncompleteReason,
    InFlightCalls,
    NotFound,
    Outcome,
    Policy,
    Position,
    Session,
    SessionLimits,
    SessionState,
    Status,
    Trace,
    UnreadableBody,
    WorkerHealth,
    WorkerState,
)
from rolltrace_client.arrays import _numpy  # pyright: ignore[reportPrivateUsage]
from rolltrace_client.details import Details
from rolltrace_client.value import Value, Word, duration, seconds

from .canned_state import int32s

COMPLETION = trace_pb2.Completion(
    token_ids=int32s(1, 70_000), logprobs=np.array([-0.25, math.nan], "<f4").tobytes()
)


@pytest.fixture
def without_numpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    _numpy.cache_clear()
    yield
    _numpy.cache_clear()


def test_arrays_are_views_of_the_bytes() -> None:
    completion = Completion(COMPLETION)
    assert completion.token_ids.dtype == np.dtype("<i4")
    assert completion.token_ids.tolist() == [1, 70_000]
    assert completion.logprobs.dtype == np.dtype("<f4")
    assert completion.logprobs[0] == -0.25
    assert np.isnan(completion.logprobs[1])
    assert not completion.token_ids.flags.owndata
    assert Completion(trace_pb2.Completion()).token_ids.shape == (0,)


@pytest.mark.usefixtures("without_numpy")
def test_arrays_without_numpy() -> None:
    completion = Completion(COMPLETION)
    ids: object = completion.token_ids
    logprobs: object = completion.logprobs
    assert ids == array.array("i", [1, 70_000])
    assert isinstance(logprobs, array.array)
    assert logprobs[0] == -0.25
    assert math.isnan(logprobs[1])
    assert len(Completion(trace_pb2.Completion()).token_ids) == 0


def test_bodies_are_parsed_when_asked_for() -> None:
    trace = Trace(trace_pb2.Trace(trace_id="t", request_json=b'{"n": 2}', response_json=b"<html>"))
    assert trace.request == {"n": 2}
    assert trace.request is trace.request
    with pytest.raises(UnreadableBody, match="the response of trace t is not JSON"):
        _ = trace.response
    assert trace.response_json == b"<html>"
    assert Trace(trace_pb2.Trace()).response is None
    assert Completion(trace_pb2.Completion(message_json=b'{"content": "a"}')).message == {"content": "a"}


def test_what_is_unset_is_none() -> None:
    trace = Trace(trace_pb2.Trace())
    assert (trace.latency, trace.admit_time, trace.usage, trace.error) == (None, None, None, None)
    assert Session(session_pb2.Session()).outcome is None


def test_values_travel_between_processes() -> None:
    trace = Trace(trace_pb2.Trace(trace_id="t", completions=[COMPLETION]))
    assert trace.completions[0].token_ids.tolist() == [1, 70_000]
    assert pickle.loads(pickle.dumps(trace)) == trace
    error = pickle.loads(pickle.dumps(NotFound("gone", "NOT_FOUND", Details(resource="s"))))
    assert (str(error), error.code, error.resource) == ("gone", "NOT_FOUND", "s")


@pytest.mark.parametrize(
    ("words", "contract"),
    [
        (SessionState, session_pb2.SessionState),
        (IncompleteKind, session_pb2.IncompleteKind),
        (InFlightCalls, session_service_pb2.InFlightCalls),
        (DeleteReason, event_pb2.DeleteReason),
        (WorkerState, worker_pb2.WorkerState),
        (WorkerHealth, worker_pb2.WorkerHealth),
        (CallStatus, trace_pb2.CallStatus),
        (CaptureGapKind, trace_pb2.CaptureGapKind),
        (EventKind, event_pb2.EventKind),
        (Position, trace_service_pb2.StartPosition),
    ],
)
def test_words_are_those_of_the_contract(words: type[Word], contract: EnumTypeWrapper) -> None:
    prefix = contract.Name(0).removesuffix("UNSPECIFIED")
    assert [(prefix + word, word.number) for word in words] == contract.items()
    assert [words.read(number) for number in contract.values()] == list(words)
    assert words.read(99) == "UNSPECIFIED"


@pytest.mark.parametrize(
    ("message", "contract"),
    [
        (Session, session_pb2.Session.DESCRIPTOR),
        (Outcome, session_pb2.Outcome.DESCRIPTOR),
        (IncompleteReason, session_pb2.IncompleteReason.DESCRIPTOR),
        (SessionLimits, session_pb2.SessionLimits.DESCRIPTOR),
        (Policy, policy_service_pb2.Policy.DESCRIPTOR),
        (Trace, trace_pb2.Trace.DESCRIPTOR),
        (Completion, trace_pb2.Completion.DESCRIPTOR),
        (Status, gateway_service_pb2.GetStatusResponse.DESCRIPTOR),
    ],
)
def test_every_field_of_the_contract_can_be_read(message: type[Value[Message]], contract: Descriptor) -> None:
    assert set(message.field_names()) == {field.name for field in contract.fields} - {"compact"}


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0, 1e-9, 12345.678901234])
def test_durations_are_seconds(value: float) -> None:
    assert seconds(duration(value)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("cursor", [Cursor("e", 0), Cursor("a:b", 2**64 - 1), Cursor("", 7)])
def test_a_cursor_is_text_and_back(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "7", "e:", "e:-1", "e:1.0", "e:²"])
def test_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="EPOCH:SEQUENCE"):
        Cursor.parse(text)
