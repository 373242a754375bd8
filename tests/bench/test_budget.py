"""A call costs no more than was agreed: a regression shows as a count, however noisy the machine.

The budgets are what Python 3.11 needs, and a little: a later Python needs less. Who makes a call cheaper
lowers them; who raises one says in the commit what it buys.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from bench import calls

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.environment import Environment, open_environment
from rolltrace_store.expansion import Expander
from rolltrace_store.history import Encoded
from rolltrace_store.interface import Durability
from rolltrace_store.write_view import Known, LmdbWriteView
from tests.bench.counting import Work, work_of

SMALL = (1000, 200)
BUDGETS = {
    "rewrite": Work(34, 590),
    "a usual rewrite": Work(11, 185),
    "json": Work(50, 2580),
    "a chunk": Work(6, 176),
    "an odd chunk": Work(66, 1450),
    "encode": Work(33, 1085),
    "rows": Work(25, 590),
}


def measured(step: str) -> Work:
    whole, stream = calls.exchanged(*SMALL, streamed=False), calls.exchanged(*SMALL, streamed=True)
    plan, known = calls.planned(whole), calls.histories()
    known.encode(calls.traced(1, plan, whole, calls.read(plan, whole)))
    trace = calls.traced(2, plan, whole, calls.read(plan, whole))
    if step == "a chunk":
        return _each_chunk(stream)
    if step == "an odd chunk":
        return _each_chunk(replace(stream, pieces=[_with_two_ids(piece) for piece in stream.pieces]))
    if step == "rows":
        return _rows(trace, known.encode(trace))
    steps = {
        "rewrite": lambda: calls.planned(whole),
        "a usual rewrite": lambda: calls.planned(whole, enforced=False),
        "json": lambda: calls.traced(3, plan, whole, calls.read(plan, whole)),
        "encode": lambda: known.encode(trace),
    }
    return work_of(steps[step])


def _with_two_ids(piece: bytes) -> bytes:
    """What is read by itself: a chunk of two tokens."""
    return piece.replace(b"]}]}\n\n", b",7]}]}\n\n").replace(b"[]}]}", b'[]},{"logprob":-0.5}]}')


def _each_chunk(stream: calls.Exchanged) -> Work:
    """What one more chunk adds: without what an answer costs whatever its length."""
    plan, tokens = calls.planned(stream), len(stream.pieces)
    shorter = calls.Exchanged(stream.request, stream.pieces[: tokens // 2], stream.kind)
    long, short = (work_of(partial(calls.read, plan, call)) for call in (stream, shorter))
    more = tokens - tokens // 2
    return Work((long.calls - short.calls) // more, (long.instructions - short.instructions) // more)


def _environment(folder: str) -> closing[Environment]:
    return closing(open_environment(Path(folder), Durability.PROCESS, 1 << 26))


def _rows(trace: Trace, encoded: Encoded) -> Work:
    """What a call writes that nobody admitted before."""
    with TemporaryDirectory() as folder, _environment(folder) as opened, opened.lmdb.begin(write=True) as txn:
        view = LmdbWriteView(opened, txn, Expander(0))
        view.create_session(Session(session_id=trace.session_id))
        return work_of(lambda: view.append(trace, encoded, bytes(32), known=Known.BEGINS))


@pytest.mark.parametrize("step", BUDGETS)
def test_a_step_keeps_within_its_budget(step: str) -> None:
    budget, seen = BUDGETS[step], measured(step)
    assert seen.calls <= budget.calls, f"{step}: {seen} instead of {budget}"
    assert seen.instructions <= budget.instructions, f"{step}: {seen} instead of {budget}"


def test_a_budget_is_not_far_from_what_is_needed() -> None:
    """One that nobody lowered after a gain would let the gain be lost again."""
    for step, budget in BUDGETS.items():
        assert 2 * measured(step).instructions > budget.instructions, f"lower the budget of {step}"


def test_a_long_prompt_costs_no_more_than_a_short_one() -> None:
    """What grows with the prompt's ids must be done in C."""
    short, long = (_whole_way(calls.exchanged(prompt, 200, streamed=False)) for prompt in (1000, 16_000))
    assert long.instructions < 1.05 * short.instructions, f"{short} became {long}"


def _whole_way(call: calls.Exchanged) -> Work:
    return work_of(lambda: calls.whole_way(1, call, calls.histories()))


def test_work_is_counted() -> None:
    def loop(times: int) -> None:
        for _ in range(times):
            str(times)

    few, many = work_of(lambda: loop(10)), work_of(lambda: loop(1000))
    assert few.calls == many.calls == 2
    assert many.instructions > 50 * few.instructions
