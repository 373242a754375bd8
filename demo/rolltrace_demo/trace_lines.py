"""A trace as a few lines for a person. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rolltrace_client import Trace

SHOWN = 8
MARGIN = " " * 9


def lines(trace: Trace, arrived_after: float) -> list[str]:
    """What was captured, and how many seconds after the worker's last byte it was here."""
    sampled = sum(len(completion.token_ids) for completion in trace.completions)
    finish = ", ".join(completion.finish_reason or "?" for completion in trace.completions)
    latency = f"{trace.latency * 1000:.0f} ms" if trace.latency is not None else "?"
    shown = [
        f"trace {trace.call_index}: {finish or trace.status.name}, "
        f"{len(trace.prompt_token_ids)} prompt ids, {sampled} sampled ids",
        f"  {'streamed' if trace.streamed else 'whole'} in {latency}; "
        f"durable, and here over gRPC {arrived_after * 1000:.1f} ms after its last byte",
    ]
    for completion in trace.completions:
        shown += tokens(list(completion.token_ids), list(completion.logprobs))
    shown += [f"gap: {gap.kind.name} {gap.message}" for gap in trace.capture_gaps]
    return [MARGIN + line for line in shown]


def tokens(ids: Sequence[int], logprobs: Sequence[float]) -> list[str]:
    """Two rows, ids over log-probabilities, of the first few tokens."""
    more = f" ... {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    cells = [str(number) for number in ids[:SHOWN]]
    values = ["none" if math.isnan(value) else f"{value + 0.0:.3f}" for value in logprobs[:SHOWN]]
    return [f"  ids      {_row(cells)}{more}", f"  logprobs {_row(values)}"]


def summary(traces: Sequence[Trace]) -> list[str]:
    """What the whole session gave; only what is so is said."""
    prompts = sum(len(trace.prompt_token_ids) for trace in traces)
    completions = [completion for trace in traces for completion in trace.completions]
    sampled = sum(len(completion.token_ids) for completion in completions)
    known = sum(not math.isnan(value) for completion in completions for value in completion.logprobs)
    gaps = sum(len(trace.capture_gaps) for trace in traces)
    joined = sum(bool(trace.parent_trace_id) for trace in traces)
    missing = f"{gaps} gaps, named above" if gaps else "nothing is missing"
    counts = f"{prompts} prompt ids, {sampled} sampled ids, {known} log-probabilities"
    said = [f"{len(traces)} traces: {counts}; {missing}."]
    if joined:
        said.append(f"{joined} of them begin with the very ids of the turn before: the turns join into one.")
    return said


def _row(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>7}" for cell in cells)
