from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from rolltrace.v1.session_pb2 import Session, SessionLimits
from rolltrace_proxy.limits import Limits, exceeded, limits_of
from rolltrace_store.interface import Glance
from tests.proxy.gateway import with_settings

NONE = Limits(0, 0, 0.0)


def used(calls: int = 0, tokens: int = 0, refused: int = 0) -> Glance:
    return Glance(b"", False, calls, refused, tokens)


@pytest.mark.parametrize(
    ("limits", "seen", "in_flight", "said"),
    [
        (NONE, used(10**9, 10**9), 10**6, ""),
        (Limits(3, 0, 0.0), used(2), 0, ""),
        (Limits(3, 0, 0.0), used(3, refused=1), 0, ""),
        (Limits(3, 0, 0.0), used(3), 0, "max_calls is 3, and it has made 3, with 0 more in flight"),
        (
            Limits(3, 0, 0.0),
            used(2, refused=1),
            2,
            "max_calls is 3, and it has made 1, with 2 more in flight",
        ),
        (Limits(0, 10, 0.0), used(0, 9), 0, ""),
        (Limits(0, 10, 0.0), used(0, 10), 0, "max_tokens is 10, and its calls have taken 10"),
        (Limits(0, 0, 100.5), used(), 0, ""),
        (Limits(0, 0, 100.0), used(), 0, "max_time is 100 s, and it is 100.0 s old"),
    ],
)
def test_limits(limits: Limits, seen: Glance, in_flight: int, said: str) -> None:
    created, now = 1000 * 10**9, 1100 * 10**9
    assert exceeded(limits, seen, created=created, in_flight=in_flight, now=now) == said


def test_a_session_says_itself_or_has_the_gateways_limits() -> None:
    settings = with_settings(session_max_calls=1, session_max_tokens=2, session_max_time=3.0)
    assert limits_of(Session(), settings) == Limits(1, 2, 3.0)
    own = SessionLimits(max_calls=0, max_tokens=20, max_time=Duration(nanos=500_000_000))
    assert limits_of(Session(limits=own), settings) == Limits(0, 20, 0.5)
