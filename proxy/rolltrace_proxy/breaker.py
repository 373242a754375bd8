"""Whether a worker seems alive, judged by the calls that were sent to it.

Only a connection that can't be made counts as a failure: a worker that is slow or answers 429 or 503 is
busy, not dead. After FAILURES of them in a row the breaker opens; DELAY seconds later one call may probe,
and its outcome closes the breaker or opens it again. The clock is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3
DELAY = 2.0
"""Seconds. As often as control checks health by default."""


@dataclass(slots=True)
class Breaker:
    failures: int = 0
    retry_at: float = 0.0

    def is_open(self, now: float) -> bool:
        """Whether calls should go elsewhere. False once a probe is due."""
        return self.failures >= FAILURES and now < self.retry_at

    def attempt(self, now: float) -> None:
        """A call is being sent. If that is the probe, the others keep away until its outcome is known."""
        if self.failures >= FAILURES:
            self.retry_at = now + DELAY

    def failed(self, now: float) -> None:
        """A connection could not be made."""
        self.failures += 1
        self.retry_at = now + DELAY

    def succeeded(self) -> None:
        """A connection was made."""
        self.failures = 0
