"""Targets: the proxy's pure decisions, under any order of events and any numbers."""

from __future__ import annotations

from contextlib import suppress

from rolltrace_proxy import breaker as breakers
from rolltrace_proxy import routing
from rolltrace_proxy.call import RUNNING, STATUS, Call, Event, TransitionError
from tests.fuzz.feed import Feed

_EVENTS = list(Event)
_TRACELESS = (Event.REPLAY, Event.DISMISS)


def breaker(data: bytes) -> None:
    """It opens by failures alone, is due for a probe again within DELAY, and one success closes it."""
    feed = Feed(data)
    state, now, failures = breakers.Breaker(), 0.0, 0
    while feed:
        now += feed.number() / 64
        what = feed.number() % 3
        if what == 0:
            state.attempt(now)
        elif what == 1:
            state.failed(now)
            failures += 1
        else:
            state.succeeded()
            failures = 0
        assert not state.is_open(now) or failures >= breakers.FAILURES
        assert not state.is_open(now + breakers.DELAY)


def routing_order(data: bytes) -> None:
    """Everyone who serves the model is named once; without load, who is left keeps his place."""
    feed = Feed(data)
    model, session_id = feed.choice(("", "m", "n")), feed.chunk().decode(errors="replace")
    loaded = feed.flag()
    workers = [
        routing.Candidate(
            f"w{place}",
            frozenset(feed.choice(((), ("m",), ("m", "n")))),
            weight=(1 + feed.number(2)) / 65.536,
            in_flight=feed.number(2) if loaded else 0,
            usable=feed.flag(),
            cordoned=feed.flag(),
        )
        for place in range(feed.number() % 9)
    ]
    named = routing.order(workers, model, session_id, "call")
    serving = [w for w in workers if not model or not w.model_names or model in w.model_names]
    assert sorted(named) == [w.worker_id for w in serving]
    assert named == routing.order(workers[::-1], model, session_id, "call")
    if not loaded:
        rest = routing.order(workers[1:], model, session_id, "call")
        assert rest == [name for name in named if name != "w0"]
    if not named:
        assert routing.nobody(workers, model)


def call_life(data: bytes) -> None:
    """Whatever happens to a call, it ends once: with one status and a trace, or with neither."""
    feed = Feed(data)
    call = Call("t", "s", "e", 0, 0.0)
    ends = 0
    while feed:
        event = feed.choice(_EVENTS)
        with suppress(TransitionError):
            if event in STATUS:
                call.end(event, 1.0, "code", feed.text())
                ends += 1
            else:
                call.on(event)
                ends += event in _TRACELESS
        assert ends == (call.state not in RUNNING)
    if call.status:
        trace = call.trace()
        assert trace.status
        assert trace.SerializeToString()
