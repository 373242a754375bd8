"""When a session that is being sealed may be sealed. Decisions only."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from rolltrace.v1.session_pb2 import Outcome
from rolltrace.v1.session_service_pb2 import InFlightCalls, SealSessionRequest
from rolltrace_control.validation import check_json, nanoseconds
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.interface import Sealing
from rolltrace_store.names import check_session_id

DEFAULT_TIMEOUT = 60 * 10**9
MAX_TIMEOUT = 3600 * 10**9
MAX_PATIENCE = 7200.0
MARGIN = 0.2


def check_seal(request: SealSessionRequest) -> None:
    """Raises InvalidArgumentError for a request that cannot be meant."""
    check_session_id(request.session_id)
    if request.in_flight not in InFlightCalls.values():
        raise InvalidArgumentError("in_flight", f"in_flight {request.in_flight} is not known")
    if timeout_of(request) > MAX_TIMEOUT:
        raise InvalidArgumentError("timeout", "timeout is longer than an hour")
    _check_outcome(request.outcome)


def timeout_of(request: SealSessionRequest) -> int:
    """How long the session may be SEALING, in nanoseconds. Raises InvalidArgumentError."""
    return nanoseconds(request.timeout, "timeout") if request.HasField("timeout") else DEFAULT_TIMEOUT


def patience(time_remaining: float | None) -> float | None:
    """The seconds to wait for a caller who has so many, so that an answer reaches it; None for ever."""
    if time_remaining is None or time_remaining > MAX_PATIENCE:
        return None
    return time_remaining - min(MARGIN, time_remaining / 2)


class Deadlines:
    """How long each session may be SEALING still, by a clock that does not step.

    What is stored is a time of day, which a restart needs. A step of the wall clock must not seal a session
    early, nor keep it SEALING: within one life of the service the time is taken from its first look.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], float] = {}

    def look(self, sealing: Iterable[Sealing], wall: int, monotonic: float) -> dict[str, float]:
        """Seconds left by session_id, not above 0 when they are over.

        `wall` is in nanoseconds since 1970, `monotonic` in seconds.
        """
        ends = {
            (one.session_id, one.deadline): monotonic + min(one.deadline - wall, MAX_TIMEOUT) / 1e9
            for one in sealing
        }
        self._ends = {key: self._ends.get(key, end) for key, end in ends.items()}
        return {session_id: end - monotonic for (session_id, _), end in self._ends.items()}


def ready(sealing: Iterable[Sealing], busy: Collection[str], over: Collection[str]) -> list[Sealing]:
    """Those to be sealed now: their time is `over`, or no call of theirs runs, which `busy` names."""
    return [one for one in sealing if one.session_id in over or one.session_id not in busy]


def _check_outcome(outcome: Outcome) -> None:
    """Raises InvalidArgumentError for what JSON does not know: nobody could pass it on."""
    if math.isnan(outcome.reward):
        raise InvalidArgumentError("outcome.reward", "outcome.reward is NaN; leave it unset for none")
    for name, value in outcome.rewards.items():
        if math.isnan(value):
            raise InvalidArgumentError("outcome.rewards", f"outcome.rewards has NaN for {name!r}")
    check_json(outcome.metadata, "outcome.metadata")
