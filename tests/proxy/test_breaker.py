from __future__ import annotations

from rolltrace_proxy.breaker import DELAY, FAILURES, Breaker


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert not breaker.is_open(10.0)
        breaker.attempt(10.0)
        breaker.failed(10.0)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    assert opened().is_open(10.0)


def test_a_success_between_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(2 * FAILURES):
        breaker.failed(10.0)
        breaker.succeeded()
    assert not breaker.is_open(10.0)


def test_one_call_probes_after_the_delay() -> None:
    breaker = opened()
    assert breaker.is_open(10.0 + DELAY - 0.01)
    due = 10.0 + DELAY
    assert not breaker.is_open(due)
    breaker.attempt(due)
    assert breaker.is_open(due)


def test_the_probe_decides() -> None:
    breaker, due = opened(), 10.0 + DELAY
    breaker.attempt(due)
    breaker.failed(due + 1)
    assert breaker.is_open(due + DELAY)
    breaker.attempt(due + 1 + DELAY)
    breaker.succeeded()
    assert not breaker.is_open(due + 1 + DELAY)
