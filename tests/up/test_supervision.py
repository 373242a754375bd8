"""What is decided when a child ends."""

from __future__ import annotations

import pytest

from rolltrace_client.supervision import (
    FAILURES_AT_START,
    FORGIVEN_AFTER,
    LONGEST_PAUSE,
    Ended,
    GiveUp,
    Restart,
    after_end,
    in_words,
    pause,
    until_next_look,
)


def ended(returncode: int = 1, ran_for: float = 1.0, *, was_healthy: bool = True) -> Ended:
    return Ended(returncode, ran_for, was_healthy)


def test_the_pause_doubles_and_is_bounded() -> None:
    assert [pause(failures) for failures in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, 0.8]
    assert pause(10_000) == LONGEST_PAUSE


def test_a_start_is_looked_at_often_and_a_long_wait_less() -> None:
    assert [until_next_look(waited) for waited in (0.0, 0.4, 2.0, 60.0)] == [0.02, 0.02, 0.1, 0.2]


@pytest.mark.parametrize("returncode", [0, 1, -9, -15])
def test_whatever_ends_is_started_again(returncode: int) -> None:
    assert after_end(ended(returncode), 0) == Restart(0.1, 1)
    assert after_end(ended(returncode), 3) == Restart(0.8, 4)


def test_one_that_ran_for_a_while_is_forgiven() -> None:
    assert after_end(ended(ran_for=FORGIVEN_AFTER), 7) == Restart(0.1, 1)


@pytest.mark.parametrize("was_healthy", [True, False])
def test_a_wrong_setting_does_not_mend_itself(was_healthy: bool) -> None:
    assert after_end(ended(2, was_healthy=was_healthy), 0) == GiveUp(2)


def test_one_that_never_was_healthy_is_given_up() -> None:
    assert after_end(ended(was_healthy=False), FAILURES_AT_START - 2) == Restart(0.2, FAILURES_AT_START - 1)
    assert after_end(ended(was_healthy=False), FAILURES_AT_START - 1) == GiveUp(1)


def test_return_codes_in_words() -> None:
    assert in_words(3) == "ended with status 3"
    assert in_words(-9) == "was killed by SIGKILL"
    assert in_words(-63) == "was killed by signal 63"
