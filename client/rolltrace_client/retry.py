"""When to try again, and when to give up. Pure: the clock and the dice are given.

Every unary call may be repeated: reads change nothing, and mutations carry a request_id. So
UNAVAILABLE, and only it, is tried again, with growing and jittered pauses, until the patience or the
deadline runs out; then the last error stands. A lost stream is another matter: see resume.py.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from .errors import RolltraceError, Unavailable

Clock = Callable[[], float]

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0


class Backoff:
    """Pauses in seconds: doubling, capped, each between half and all of its size."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        self._dice = dice
        self._tries = 0

    def pause(self) -> float:
        size = min(math.ldexp(FIRST_PAUSE, min(self._tries, 16)), LONGEST_PAUSE)
        self._tries += 1
        return size * (0.5 + self._dice() / 2)

    def reset(self) -> None:
        self._tries = 0


class Attempts:
    """The tries of one unary call, which share one deadline. All times are seconds."""

    def __init__(self, timeout: float, patience: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        begin = clock()
        self._deadline = begin + timeout
        self._give_up = begin + min(patience, timeout)
        self._backoff = Backoff()

    def time_left(self) -> float:
        """What the next try may take."""
        return max(self._deadline - self._clock(), 0.001)

    def pause(self, error: RolltraceError) -> float:
        """How long to wait before the next try. Raises `error` when there is to be none."""
        pause = max(self._backoff.pause(), error.details.retry_delay or 0.0)
        if not isinstance(error, Unavailable) or self._clock() + pause >= self._give_up:
            raise error
        return pause
