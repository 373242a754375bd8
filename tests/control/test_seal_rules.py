"""When sessions may be sealed: deadlines over steps of the wall clock, and the patience of callers."""

from __future__ import annotations

import pytest

from rolltrace_control.seal_rules import MAX_PATIENCE, Deadlines, patience, ready
from rolltrace_store import Sealing

SECOND = 10**9
NOW = 1_800_000_000 * SECOND


def sealing(session_id: str = "s", seconds: float = 10.0) -> Sealing:
    return Sealing(session_id, False, NOW + int(seconds * SECOND))


def test_time_is_left_until_the_deadline() -> None:
    deadlines = Deadlines()
    assert deadlines.look([sealing("a", 10), sealing("b", -1)], NOW, 5.0) == {"a": 10.0, "b": -1.0}
    assert deadlines.look([sealing("a", 10)], NOW + 4 * SECOND, 9.0) == {"a": 6.0}


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_step_of_the_wall_clock_changes_nothing(step: int) -> None:
    deadlines = Deadlines()
    deadlines.look([sealing()], NOW, 5.0)
    assert deadlines.look([sealing()], NOW + (step + 4) * SECOND, 9.0) == {"s": 6.0}


def test_a_clock_that_stepped_back_over_a_restart_holds_a_seal_no_longer_than_an_hour() -> None:
    assert Deadlines().look([sealing()], NOW - 86_400 * SECOND, 5.0) == {"s": 3600.0}


def test_a_deadline_that_was_brought_forward_counts() -> None:
    deadlines = Deadlines()
    deadlines.look([sealing(seconds=10)], NOW, 5.0)
    assert deadlines.look([sealing(seconds=3)], NOW, 5.0) == {"s": 3.0}


def test_a_session_is_ready_when_nothing_runs_or_its_time_is_over() -> None:
    under_way = [sealing("idle"), sealing("busy"), sealing("late")]
    chosen = ready(under_way, busy={"busy", "late"}, over={"late"})
    assert [one.session_id for one in chosen] == ["idle", "late"]


@pytest.mark.parametrize(
    ("remaining", "wait"), [(None, None), (MAX_PATIENCE + 1, None), (1e18, None), (10.0, 9.8), (0.2, 0.1)]
)
def test_an_answer_leaves_before_its_caller_does(remaining: float | None, wait: float | None) -> None:
    found = patience(remaining)
    assert found == (None if wait is None else pytest.approx(wait))
