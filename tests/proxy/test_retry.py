from __future__ import annotations

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.call import Call
from rolltrace_proxy.originals import MOST, Originals
from rolltrace_proxy.retry import Join, Repeat, Replay, Run, after, number, to_join
from rolltrace_store.interface import RunningCall

REPEAT = Repeat(1, "chat/completions", 7, b"{}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        (" 2 ", 2),
        ("-1", 0),
        ("1.5", 0),
        ("\u00b2", 0),
        ("\u0662", 0),
        ("9999999999", 2**32 - 1),
        ("9" * 5000, 0),
    ],
)
def test_the_number_of_a_repeat(value: str | None, expected: int) -> None:
    assert number(value) == expected


def a_call(trace_id: str, at: int, check: int = 7, endpoint: str = "chat/completions") -> RunningCall:
    trace = pb.Trace(trace_id=trace_id, endpoint=endpoint)
    trace.admit_time.FromSeconds(at)
    return RunningCall("p", check, trace)


def test_the_first_of_the_calls_that_look_the_same_is_joined() -> None:
    calls = [
        a_call("other", 1, check=8),
        a_call("elsewhere", 1, endpoint="completions"),
        a_call("b", 3),
        a_call("a", 2),
    ]
    assert to_join(REPEAT, calls) == Join("a")
    assert to_join(REPEAT, calls[:2]) is None


def a_trace(trace_id: str, *, failed: bool = False, **fields: bytes | str) -> pb.Trace:
    status = pb.CALL_STATUS_CLIENT_CANCELLED if failed else pb.CALL_STATUS_COMPLETED
    trace = pb.Trace(trace_id=trace_id, endpoint="chat/completions", status=status, request_json=b"{}")
    trace.response_json = b"{}"
    for name, value in fields.items():
        setattr(trace, name, value)
    return trace


def decided(recorded: list[pb.Trace], joined: str = "") -> Replay | Run:
    return after(REPEAT, recorded, Originals().is_of, joined)


def test_the_latest_call_with_the_same_bytes_decides() -> None:
    other, failed = a_trace("other", request_json=b"{ }"), a_trace("failed", failed=True)
    done = a_trace("done")
    assert decided([other, done, failed]) == Replay(done)
    assert decided([other, failed, done]) == Run("failed")
    assert decided([other, a_trace("x", endpoint="completions")]) == Run()
    assert decided([a_trace("not kept", response_json=b"")]) == Run("not kept")


def test_a_joined_call_whose_body_went_with_its_proxy_is_believed() -> None:
    gone = a_trace("gone", failed=True, request_json=b"")
    assert decided([gone], joined="gone") == Run("gone")
    assert decided([gone], joined="another") == Run()


def redacted(trace_id: str, request: bytes, kept: bytes) -> Call:
    call = Call(trace_id, "s", "chat/completions", 0, 0.0)
    call.request, call.kept = request, kept
    return call


def test_calls_that_look_the_same_once_they_are_redacted_are_told_apart() -> None:
    originals, trace = Originals(), a_trace("t", request_json=b"{}")
    originals.note(redacted("t", b'{"secret": 1}', b"{}"))
    assert originals.is_of(trace, b'{"secret": 1}')
    assert not originals.is_of(trace, b'{"secret": 2}')
    assert not originals.is_of(trace, b"{}")


def test_originals_are_forgotten_in_the_end() -> None:
    originals, trace = Originals(), a_trace("t-0", request_json=b"kept")
    for place in range(MOST + 1):
        originals.note(redacted(f"t-{place}", b"original", b"kept"))
    assert not originals.is_of(trace, b"original")
