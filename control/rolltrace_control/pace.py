"""When a stream owes a progress message. Times are seconds of one monotonic clock.

The contract: at the latest a second after the cursor moved without an event, and at least every 15
seconds on an idle stream. Both are kept with room to spare, since a message takes its time.
"""

from __future__ import annotations

MOVED_DELAY = 0.5
IDLE_DELAY = 10.0


class Pace:
    """Keeps the time of one stream."""

    def __init__(self, now: float) -> None:
        """A message, the header, was sent just now."""
        self._due = now + IDLE_DELAY

    @property
    def due(self) -> float:
        """When to send a progress message unless anything is sent before."""
        return self._due

    def sent(self, now: float) -> None:
        """A message with the cursor was sent."""
        self._due = now + IDLE_DELAY

    def moved(self, now: float) -> None:
        """The cursor moved, and no message has said so."""
        self._due = min(self._due, now + MOVED_DELAY)
