"""A trace in words: a row, a line, and a page with one token a row. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from ..traces import Completion, Trace

COLUMNS = ["#", "TRACE", "STATUS", "HTTP", "PROMPT", "SAMPLED", "LATENCY", "FINISH", "GAPS"]
ENDS = 8
"""How many ids of a long prompt are shown at each end."""


def row(trace: Trace) -> tuple[object, ...]:
    """For a table under COLUMNS."""
    return (
        trace.call_index,
        trace.trace_id,
        trace.status,
        trace.http_status or "",
        len(trace.prompt_token_ids),
        sum(len(completion.token_ids) for completion in trace.completions),
        _seconds(trace.latency),
        ",".join(completion.finish_reason for completion in trace.completions),
        len(trace.capture_gaps) or "",
    )


def line(trace: Trace) -> str:
    """For following along."""
    number, trace_id, status, _, prompt, sampled, latency, finish, gaps = row(trace)
    when = trace.admit_time.astimezone().strftime("%H:%M:%S") if trace.admit_time else "--:--:--"
    words = [when, trace.session_id, f"#{number}", str(status), f"{prompt}+{sampled} tokens"]
    words += [str(latency), str(finish)]
    words += [f"{gaps} gaps"] if gaps else []
    words += [trace.error.code] if trace.error else []
    words += ["late"] if trace.late else []
    return "  ".join([*filter(None, words), str(trace_id)])


def page(trace: Trace, *, whole_prompt: bool) -> str:
    """All of it: facts, what is missing, the prompt's ids, each sampled token with its log-probability."""
    return "\n".join([*_facts(trace), "", *_prompt(trace, whole_prompt), *_completions(trace)])


def _facts(trace: Trace) -> Iterator[str]:
    yield f"trace      {trace.trace_id}"
    yield f"session    {trace.session_id}, call {trace.call_index}{', late' if trace.late else ''}"
    yield f"status     {trace.status}, HTTP {trace.http_status or 'none'}"
    if trace.error:
        yield f"error      {trace.error.code}: {trace.error.message}"
    yield f"endpoint   {trace.endpoint}{', streamed' if trace.streamed else ''}"
    yield f"model      {trace.model}{f' on {trace.worker_id}' if trace.worker_id else ''}"
    if trace.latency is not None:
        first = trace.time_to_first_token
        yield f"latency    {_seconds(trace.latency)}" + (
            "" if first is None else f", first token {_seconds(first)}"
        )
    if trace.parent_trace_id:
        yield f"parent     {trace.parent_trace_id}"
    if trace.retried_trace_id:
        yield f"retries    {trace.retried_trace_id}"
    if trace.policy_version:
        yield f"policy     {trace.policy_version}"
    for gap in trace.capture_gaps:
        of = "" if gap.completion_index is None else f" of completion {gap.completion_index}"
        yield f"missing    {gap.kind}{of}: {gap.message}"


def _prompt(trace: Trace, whole: bool) -> Iterator[str]:
    ids = [int(token) for token in trace.prompt_token_ids]
    if not ids:
        yield "prompt, no ids"
        return
    yield f"prompt, {len(ids)} tokens"
    if whole or len(ids) <= 2 * ENDS:
        shown = [*map(str, ids)]
    else:
        between = f"... {len(ids) - 2 * ENDS} more (--all) ..."
        shown = [*map(str, ids[:ENDS]), between, *map(str, ids[-ENDS:])]
    yield "  " + " ".join(shown)


def _completions(trace: Trace) -> Iterator[str]:
    for completion in trace.completions:
        yield ""
        end = completion.finish_reason or "no finish reason"
        yield f"completion {completion.index}, {len(completion.token_ids)} tokens, {end}"
        choice = _choice(trace, completion)
        yield from _said(choice)
        if experts := completion.routed_experts:
            yield f"  routed experts: {experts.dtype} {experts.shape}, blob {experts.blob.digest}"
        yield from _tokens(completion, _pieces(choice, completion))


def _tokens(completion: Completion, pieces: list[str]) -> Iterator[str]:
    ids, logprobs = completion.token_ids, completion.logprobs
    yield f"{'#':>6}  {'id':>8}  {'logprob':>9}" + ("  text" if pieces else "")
    for place, token in enumerate(ids):
        logprob = float(logprobs[place]) if place < len(logprobs) else math.nan
        text = f"  {json.dumps(pieces[place], ensure_ascii=False)}" if pieces else ""
        yield f"{place:>6}  {int(token):>8}  {_logprob(logprob):>9}{text}"


def _choice(trace: Trace, completion: Completion) -> dict[str, Any]:
    """The answer's choice for a completion; empty when it has none."""
    try:
        choices: list[dict[str, Any]] = trace.response["choices"]
        return next(choice for choice in choices if choice["index"] == completion.index)
    except (ValueError, LookupError, TypeError, StopIteration):
        return {}


def _said(choice: dict[str, Any]) -> list[str]:
    """What the agent was answered: the text, and each tool call in a line. Nothing of an unusual shape."""
    try:
        message: dict[str, Any] = choice.get("message") or {"content": choice.get("text")}
        calls: list[dict[str, Any]] = message.get("tool_calls") or []
        said = [f"calls {call['function']['name']}({call['function']['arguments']})" for call in calls]
    except (LookupError, TypeError, AttributeError):
        return []
    text = message.get("content")
    return [f"  {line}" for line in ([json.dumps(text, ensure_ascii=False)] if text else []) + said]


def _pieces(choice: dict[str, Any], completion: Completion) -> list[str]:
    """The text of each sampled token, where the answer has one for every id; else none at all."""
    try:
        logprobs = choice["logprobs"]
        content: Iterable[object] = logprobs.get("tokens") or [item["token"] for item in logprobs["content"]]
        pieces = [piece for piece in content if isinstance(piece, str)]
    except (LookupError, TypeError, AttributeError):
        return []
    spelled_out = not any(piece.startswith("token_id:") for piece in pieces)
    return pieces if spelled_out and len(pieces) == len(completion.token_ids) else []


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}s"


def _logprob(value: float) -> str:
    return "missing" if math.isnan(value) else f"{value:.4f}"
