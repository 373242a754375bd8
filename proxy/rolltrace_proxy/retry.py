"""A repeat of a call: whether it joins the call that runs, gets the recorded answer, or runs anew.

Rules. Only a repeat that the SDK marks is one: agents ask the same thing twice on purpose. A check of the
request tells which calls it may be the repeat of; only equal bytes tell that it is. Of the recorded calls
the latest one with these bytes decides, whatever became of it: an answer that came earlier was another
call's. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.replay import replayable
from rolltrace_store.interface import RunningCall

RETRY_COUNT = "x-stainless-retry-count"
"""How OpenAI's and Anthropic's SDKs mark a repeat: 0 on a call's first attempt, 1 on the next."""
LATEST = 32
"""Traces of a session among which the first attempt is looked for."""
_MAX_NUMBER = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """A request, as a repeat is told from others. `number` 0: it is none. `check`: CRC-32 of the body."""

    number: int
    endpoint: str
    check: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the end of this call, then decide again."""

    trace_id: str


@dataclass(frozen=True, slots=True)
class Replay:
    """Give the answer of this FULL trace."""

    trace: pb.Trace


@dataclass(frozen=True, slots=True)
class Run:
    """Run it as a call of its own; after the failed one that is named, if it repeats one."""

    retried_trace_id: str = ""


Course = Join | Replay | Run


def number(value: str | None) -> int:
    """The how manyth repeat it is, by its header; 0 for what is no number."""
    text = (value or "").strip()
    return min(int(text), _MAX_NUMBER) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def to_join(repeat: Repeat, running: Iterable[RunningCall]) -> Join | None:
    """The call that runs and may be this one: the one that was admitted first."""
    alike = [
        call.trace
        for call in running
        if call.check == repeat.check and call.trace.endpoint == repeat.endpoint
    ]
    first = min(alike, key=lambda trace: trace.admit_time.ToNanoseconds(), default=None)
    return None if first is None else Join(first.trace_id)


def after(
    repeat: Repeat, recorded: Iterable[pb.Trace], is_of: Callable[[pb.Trace, bytes], bool], joined: str = ""
) -> Replay | Run:
    """What the session's recorded calls make of a repeat; FULL traces, the latest first.

    `is_of` tells whether a trace is of a body. `joined` was waited for: if its proxy went away, its body
    went too, and the check has to do.
    """
    for trace in recorded:
        if trace.endpoint == repeat.endpoint and is_of(trace, repeat.body):
            return Replay(trace) if replayable(trace) else Run(trace.trace_id)
        if trace.trace_id == joined and not trace.request_json:
            return Run(joined)
    return Run()
