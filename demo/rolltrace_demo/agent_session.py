"""An agent runs, and its traces are printed as they arrive over gRPC.

A thread subscribes as a trainer would; it notes when each trace arrives. The main thread runs the agent and
prints, so that the two do not talk at once.
"""

from __future__ import annotations

import queue
import sys
import threading
from datetime import UTC, datetime, timedelta

from openai import APIConnectionError, APIStatusError

from rolltrace_client import Client, EventKind, RolltraceError, Session, Subscription, Trace, TraceEvent
from rolltrace_demo.agent import Agent, first_model
from rolltrace_demo.trace_lines import lines, summary

PATIENCE = 10.0
Arrival = tuple[Trace, datetime]


def show(target: str, turns: int, model: str) -> int:
    """Run it; the exit status is 0 when every call's trace arrived."""
    try:
        with Client(target, timeout=PATIENCE, retry_for=1.0) as client:
            return _show(client, turns, model)
    except RolltraceError as error:
        print(f"{error}\nIs the pair up? Start it with: make run", file=sys.stderr)
    except APIConnectionError:
        print("The proxy does not answer. Is the pair up? Start it with: make run", file=sys.stderr)
    except APIStatusError as error:
        print(f"The call was answered with {error.status_code}: {error.message}", file=sys.stderr)
    return 1


def _show(client: Client, turns: int, model: str) -> int:
    session = client.create_session(labels={"task": "demo"})
    model = model or first_model(session.base_url, session.api_key)
    print(f"session   {session.session_id}\nmodel     {model}\nbase_url  {session.base_url}")
    print("          (all that the agent is told)\n")
    arrivals: queue.Queue[Arrival] = queue.Queue()
    with client.subscribe(session_ids=[session.session_id], kinds=[EventKind.TRACE]) as subscription:
        thread = threading.Thread(target=_receive, args=(subscription, arrivals), daemon=True)
        thread.start()
        traces = _talk(session, model, turns, arrivals)
    thread.join(PATIENCE)
    if len(traces) < turns:
        print(f"\nOnly {len(traces)} of {turns} traces arrived within {PATIENCE:.0f} s.", file=sys.stderr)
        return 1
    print("\n".join(summary(traces)))
    print(f"See them again: rolltrace traces list {session.session_id}")
    return 0


def _receive(subscription: Subscription, arrivals: queue.Queue[Arrival]) -> None:
    for event in subscription:
        if isinstance(event, TraceEvent):
            arrivals.put((event.trace, datetime.now(UTC)))


def _talk(session: Session, model: str, turns: int, arrivals: queue.Queue[Arrival]) -> list[Trace]:
    traces: list[Trace] = []
    stream = _Stream()
    agent = Agent(session.base_url, model, stream.text, session.api_key)
    try:
        for said in agent.turns(turns):
            stream.end()
            for line in said:
                print(f"{line.who:<8} {_one_line(line.text)}")
            trace, arrived = arrivals.get(timeout=PATIENCE)
            traces.append(trace)
            print("\n".join(lines(trace, _after_the_last_byte(trace, arrived))) + "\n", flush=True)
    except queue.Empty:
        pass
    finally:
        agent.close()
    return traces


def _after_the_last_byte(trace: Trace, arrived: datetime) -> float:
    """Seconds from the end of the worker's answer, which comes before the commit, to the arrival."""
    if trace.admit_time is None or trace.latency is None:
        return 0.0
    return (arrived - trace.admit_time - timedelta(seconds=trace.latency)).total_seconds()


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Stream:
    """Prints the pieces of a streamed answer as they come, as one line."""

    def __init__(self) -> None:
        self._began = False

    def text(self, piece: str) -> None:
        if not self._began:
            print(f"{'model':<8} ", end="")
            self._began = True
        print(piece.replace("\n", " "), end="", flush=True)

    def end(self) -> None:
        if self._began:
            print()
            self._began = False
