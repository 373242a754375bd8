"""From the outcomes of health checks to a worker's health. Decisions only.

Busy is not dead: a worker that accepts the connection and answers late is UNHEALTHY after three slow
answers in a row. One that refuses it, does not accept it within half of the timeout, or answers 500 or
more, is after two. Any other status is an answer: not
every OpenAI-compatible server has a /health. One good answer makes a worker HEALTHY again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rolltrace.v1 import worker_pb2 as pb

MAX_FAILURES = 2
MAX_SLOW = 3


class Outcome(enum.Enum):
    """How one check ended."""

    ANSWERED = enum.auto()
    SLOW = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True, slots=True)
class Checks:
    """What the latest checks of one worker said."""

    failures: int = 0
    slow: int = 0

    def after(self, outcome: Outcome) -> Checks:
        if outcome is Outcome.ANSWERED:
            return Checks()
        if outcome is Outcome.SLOW:
            return Checks(self.failures, self.slow + 1)
        return Checks(self.failures + 1, self.slow)

    def health(self, before: pb.WorkerHealth.ValueType) -> pb.WorkerHealth.ValueType:
        """The worker's health; `before` while these checks decide nothing."""
        if not self.failures and not self.slow:
            return pb.WORKER_HEALTH_HEALTHY
        if self.failures >= MAX_FAILURES or self.failures + self.slow >= MAX_SLOW:
            return pb.WORKER_HEALTH_UNHEALTHY
        return before


def outcome_of_status(status: int) -> Outcome:
    return Outcome.FAILED if status >= 500 else Outcome.ANSWERED
