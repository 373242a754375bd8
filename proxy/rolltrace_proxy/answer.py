"""How an answer is read on its way to the agent: whole, as a stream of events, or not at all.

Decided by what the worker's header says. Only an answer in one piece of known kind is waited for; all
else goes on piece by piece, so that nothing loses its timing.
"""

from __future__ import annotations

from typing import Protocol

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import headers
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.http1.interface import Fields
from rolltrace_proxy.prompts import ReadPrompt
from rolltrace_proxy.rewrite import Rewrite
from rolltrace_proxy.stream_answer import StreamAnswer
from rolltrace_proxy.tokens import pack_text
from rolltrace_proxy.whole_answer import read_whole_answer


class Answer(Protocol):
    """A worker's answer: fed as it comes, captured at its end, closed once the call is recorded."""

    def feed(self, data: bytes) -> bytes:
        """What can go to the agent now."""
        ...

    def capture(self, *, ended: bool = True) -> Captured: ...

    def close(self) -> bytes:
        """What was held back."""
        ...


class WholeAnswer:
    """Holds all of it back, up to `most` bytes; a larger one goes on as it comes."""

    def __init__(self, rewrite: Rewrite, status: int, most: int, read_prompt: ReadPrompt) -> None:
        self._rewrite = rewrite
        self._read_prompt = read_prompt
        self._status = status
        self._most = most
        self._size = 0
        self._pieces: list[bytes] = []
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        self._pieces.append(data)
        return self._taken() if self._size > self._most else b""

    def capture(self, *, ended: bool = True) -> Captured:
        if self._size > self._most:
            why = f"the answer has more than {self._most} bytes (max_answer_size) and is not kept"
            return Captured(gaps=[pb.CaptureGap(kind=pb.CAPTURE_GAP_KIND_TOO_LARGE, message=why)])
        if not ended:
            return Captured(response_json=b"".join(self._pieces))
        self._body, captured = read_whole_answer(
            self._rewrite, self._status, self._taken(), self._read_prompt
        )
        return captured

    def close(self) -> bytes:
        return self._body

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Untouched:
    """Goes on as it comes, and leaves its gaps."""

    def __init__(self, *gaps: pb.CaptureGap) -> None:
        self._gaps = list(gaps)

    def feed(self, data: bytes) -> bytes:
        return data

    def capture(self, *, ended: bool = True) -> Captured:
        return Captured(gaps=self._gaps)

    def close(self) -> bytes:
        return b""


def answer_for(
    rewrite: Rewrite, status: int, fields: Fields, most: int, read_prompt: ReadPrompt = pack_text
) -> Answer:
    """How to read a recorded answer with this status and header; `most` bytes of it are held back.

    `read_prompt` is that of the session's Prompts.
    """
    if headers.compressed(fields):
        why = "the worker compressed its answer, though asked not to"
        return Untouched(pb.CaptureGap(kind=pb.CAPTURE_GAP_KIND_UNREADABLE, message=why))
    kind = headers.value_of(fields, "content-type").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return StreamAnswer(rewrite, read_prompt)
    if kind == "application/json" or kind.endswith("+json") or rewrite.captures or status >= 400:
        return WholeAnswer(rewrite, status, most, read_prompt)
    why = f"an answer of type {kind or 'unknown'!r} is not kept"
    return Untouched(pb.CaptureGap(kind=pb.CAPTURE_GAP_KIND_ENDPOINT, message=why))


def fill(trace: pb.Trace, captured: Captured) -> None:
    """Puts what was captured into the trace."""
    trace.prompt_token_ids = captured.prompt_token_ids
    trace.completions.extend(captured.completions)
    trace.response_json = captured.response_json
    trace.capture_gaps.extend(captured.gaps)
    if captured.usage is not None:
        trace.usage.CopyFrom(captured.usage)
    trace.model = trace.model or captured.model
    if captured.policy_version:
        trace.policy_version = captured.policy_version
