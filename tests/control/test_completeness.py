"""Every checker of tests/completeness.py accepts a session that keeps its promise, and fails on any other."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from rolltrace import digest
from rolltrace.v1 import session_pb2 as pb
from rolltrace.v1 import trace_pb2
from rolltrace.v1.session_pb2 import IncompleteReason, Session
from rolltrace.v1.trace_pb2 import CaptureGap, Trace
from tests import completeness
from tests.promises import Broken
from tests.store import samples

GAP, INTERRUPTED, IN_FLIGHT = (
    pb.INCOMPLETE_KIND_CAPTURE_GAPS,
    pb.INCOMPLETE_KIND_INTERRUPTED,
    pb.INCOMPLETE_KIND_IN_FLIGHT,
)


class Rollout:
    """What a test has in hand: a sealed session of four calls, of which one came late."""

    def __init__(self) -> None:
        completed, lacking, late = samples.conversation("s", 3)
        interrupted = Trace(
            trace_id=str(uuid.uuid4()), session_id="s", status=trace_pb2.CALL_STATUS_INTERRUPTED
        )
        lacking.capture_gaps.append(CaptureGap(kind=trace_pb2.CAPTURE_GAP_KIND_LOGPROBS))
        completed.usage.prompt_tokens, completed.usage.completion_tokens = 30, 20
        self.traces = [completed, lacking, interrupted, late]
        for index, trace in enumerate(self.traces):
            trace.call_index, trace.sequence, trace.late = index, 10 + 2 * index, index == 3
            trace.digest = digest.trace_digest(trace)
        self.session = Session(
            session_id="s",
            state=pb.SESSION_STATE_SEALED,
            call_count=3,
            failed_call_count=1,
            late_call_count=1,
            prompt_token_count=30 + len(lacking.prompt_token_ids) // 4,
            completion_token_count=20 + 2,
            incomplete=True,
            incomplete_reasons=[
                IncompleteReason(kind=kind, call_count=1) for kind in (GAP, INTERRUPTED, IN_FLIGHT)
            ],
            digest=digest.session_digest(trace.digest for trace in self.traces[:3]),
        )
        self.session.seal_time.GetCurrentTime()
        self.ended = [completed.trace_id, lacking.trace_id, late.trace_id]

    def check(self) -> None:
        completeness.check(self.session, self.traces, ended=self.ended, sent=4)


def test_what_is_right_passes() -> None:
    Rollout().check()
    completeness.check(Session(state=pb.SESSION_STATE_OPEN), [])


def test_an_open_session_has_no_digest_and_no_end_yet() -> None:
    rollout = Rollout()
    rollout.session.state = pb.SESSION_STATE_OPEN
    for name in ("digest", "seal_time", "late_call_count"):
        rollout.session.ClearField(name)
    del rollout.session.incomplete_reasons[2]
    del rollout.traces[3], rollout.ended[2]
    rollout.check()
    rollout.session.digest = digest.session_digest(trace.digest for trace in rollout.traces)
    with pytest.raises(Broken, match=r"^Digest: "):
        rollout.check()


def drop_last(rollout: Rollout) -> None:
    del rollout.traces[-1]


def swap(rollout: Rollout) -> None:
    rollout.traces[:2] = rollout.traces[1::-1]


def reorder(rollout: Rollout) -> None:
    rollout.traces[1].sequence = rollout.traces[0].sequence


def move(rollout: Rollout) -> None:
    rollout.traces[1].session_id = "t"


def see_an_interrupted_end(rollout: Rollout) -> None:
    rollout.ended.append(rollout.traces[2].trace_id)


def record_twice(rollout: Rollout) -> None:
    rollout.traces[1].trace_id = rollout.traces[0].trace_id
    rollout.ended = []


def leave_the_end_open(rollout: Rollout) -> None:
    rollout.traces[1].status = trace_pb2.CALL_STATUS_UNSPECIFIED


def make_one_up(rollout: Rollout) -> None:
    extra = Trace()
    extra.CopyFrom(rollout.traces[3])
    extra.trace_id, extra.call_index, extra.sequence = str(uuid.uuid4()), 4, 99
    rollout.traces.append(extra)


def hide_the_gap(rollout: Rollout) -> None:
    rollout.traces[0].completions[0].logprobs = b""


def count_the_late_one(rollout: Rollout) -> None:
    rollout.traces[3].late = False


def forget_when(rollout: Rollout) -> None:
    rollout.session.ClearField("seal_time")


def count(name: str) -> Callable[[Rollout], None]:
    def miscount(rollout: Rollout) -> None:
        setattr(rollout.session, name, getattr(rollout.session, name) + 1)

    return miscount


def claim_completeness(rollout: Rollout) -> None:
    rollout.session.incomplete = False


def give_no_reason(rollout: Rollout) -> None:
    del rollout.session.incomplete_reasons[:]


def give_one_reason_less(rollout: Rollout) -> None:
    del rollout.session.incomplete_reasons[0]


def give_one_reason_twice(rollout: Rollout) -> None:
    rollout.session.incomplete_reasons.append(rollout.session.incomplete_reasons[0])


def miscount_a_reason(place: int) -> Callable[[Rollout], None]:
    def miscount(rollout: Rollout) -> None:
        rollout.session.incomplete_reasons[place].call_count = 2

    return miscount


def change_a_logprob(rollout: Rollout) -> None:
    rollout.traces[0].completions[0].logprobs = bytes(8)


def change_the_digest(rollout: Rollout) -> None:
    rollout.session.digest = digest.session_digest(trace.digest for trace in rollout.traces)


BREAKS = [
    ("Placed", swap),
    ("Placed", reorder),
    ("Placed", move),
    ("Recorded", drop_last),
    ("Recorded", see_an_interrupted_end),
    ("Once", record_twice),
    ("Once", leave_the_end_open),
    ("Once", make_one_up),
    ("Whole", hide_the_gap),
    ("Late", count_the_late_one),
    ("Late", forget_when),
    ("Counted", count("failed_call_count")),
    ("Counted", count("late_call_count")),
    ("Counted", count("prompt_token_count")),
    ("Counted", count("completion_token_count")),
    ("Reasons", claim_completeness),
    ("Reasons", give_no_reason),
    ("Reasons", give_one_reason_less),
    ("Reasons", give_one_reason_twice),
    ("Reasons", miscount_a_reason(0)),
    ("Reasons", miscount_a_reason(1)),
    ("Reasons", miscount_a_reason(2)),
    ("Digest", change_a_logprob),
    ("Digest", change_the_digest),
]


@pytest.mark.parametrize(("promise", "break_it"), BREAKS)
def test_what_is_wrong_is_found(promise: str, break_it: Callable[[Rollout], None]) -> None:
    rollout = Rollout()
    break_it(rollout)
    with pytest.raises(Broken, match=f"^{promise}: "):
        rollout.check()


def test_a_call_that_nobody_recorded_is_found_by_its_count() -> None:
    rollout = Rollout()
    rollout.ended = []
    del rollout.traces[2]
    rollout.traces[2].call_index = 2
    with pytest.raises(Broken, match=r"^Late: "):
        rollout.check()
