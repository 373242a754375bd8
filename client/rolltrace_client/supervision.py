"""What `rolltrace up` does when a child ends. Decisions only: no clock, no process, no await.

- A child that ends is started again, after a pause that doubles with every failure in a row.
- A child that ran for a while is forgiven its earlier failures.
- A wrong setting (exit status 2) does not mend itself: the child is not started again.
- A child that fails several times before it was ever healthy is given up: what is wrong was wrong from
  the start, and its own words on stderr say what.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
FORGIVEN_AFTER = 60.0
FAILURES_AT_START = 3
LOOKS = (0.02, 0.2)
EXIT_CONFIGURATION = 2


@dataclass(frozen=True, slots=True)
class Ended:
    """One end of a child: its return code (negative for a signal) and for how many seconds it ran."""

    returncode: int
    ran_for: float
    was_healthy: bool


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `pause` seconds; `failures` in a row so far."""

    pause: float
    failures: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again; `rolltrace up` ends with this status."""

    exit_status: int


def after_end(end: Ended, failures: int) -> Restart | GiveUp:
    """What to do now, when `failures` in a row had gone before."""
    if end.returncode == EXIT_CONFIGURATION:
        return GiveUp(EXIT_CONFIGURATION)
    failures = 1 if end.ran_for >= FORGIVEN_AFTER else failures + 1
    if not end.was_healthy and failures >= FAILURES_AT_START:
        return GiveUp(1)
    return Restart(pause(failures), failures)


def pause(failures: int) -> float:
    """Seconds before the start that follows so many failures in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 32))


def until_next_look(waited: float) -> float:
    """Seconds until a child is asked again whether it is healthy, so many after the first time.

    Often at first, since a start takes a fraction of a second.
    """
    shortest, longest = LOOKS
    return min(longest, max(shortest, waited / 20))


def in_words(returncode: int) -> str:
    """A return code as a person would say it."""
    if returncode >= 0:
        return f"ended with status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"
