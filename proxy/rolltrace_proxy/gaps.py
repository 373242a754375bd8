"""What a trace lacks, collected while an answer is read: one gap a kind and completion, however often."""

from __future__ import annotations

from typing import TypeAlias

from rolltrace.v1 import trace_pb2 as pb

PROMPT_TOKEN_IDS = pb.CAPTURE_GAP_KIND_PROMPT_TOKEN_IDS
TOKEN_IDS = pb.CAPTURE_GAP_KIND_TOKEN_IDS
LOGPROBS = pb.CAPTURE_GAP_KIND_LOGPROBS
MISMATCH = pb.CAPTURE_GAP_KIND_MISMATCH
FINISH_REASON = pb.CAPTURE_GAP_KIND_FINISH_REASON
UNREADABLE = pb.CAPTURE_GAP_KIND_UNREADABLE
ENDPOINT = pb.CAPTURE_GAP_KIND_ENDPOINT
TOO_LARGE = pb.CAPTURE_GAP_KIND_TOO_LARGE
REQUEST = pb.CAPTURE_GAP_KIND_REQUEST

Kind: TypeAlias = pb.CaptureGapKind.ValueType
_QUOTED = 80


class Gaps:
    """The first message of each kind is kept, with how many more there were."""

    def __init__(self) -> None:
        self._first: dict[tuple[Kind, int | None], str] = {}
        self._more: dict[tuple[Kind, int | None], int] = {}

    def note(self, kind: Kind, message: str, index: int | None = None) -> None:
        """index is the completion's; None for the call as a whole."""
        key = (kind, index)
        if key in self._first:
            self._more[key] = self._more.get(key, 0) + 1
        else:
            self._first[key] = message

    def note_uncaptured(self, why: str) -> None:
        """Of an endpoint that no tokens are captured on; why: of a call that might have had some."""
        if not why:
            self.note(ENDPOINT, "no tokens are captured on this endpoint")
            return
        for kind in (PROMPT_TOKEN_IDS, TOKEN_IDS, LOGPROBS):
            self.note(kind, f"not captured: {why}")

    def has(self, *kinds: Kind) -> bool:
        return bool(self._first) and any(kind in kinds for kind, _ in self._first)

    def messages(self) -> list[pb.CaptureGap]:
        """The call's own gaps first, then the completions' by index."""
        if not self._first:
            return []
        order = sorted(self._first, key=lambda key: (-1 if key[1] is None else key[1], key[0]))
        return [self._message(key) for key in order]

    def _message(self, key: tuple[Kind, int | None]) -> pb.CaptureGap:
        kind, index = key
        more = self._more.get(key, 0)
        message = f"{self._first[key]} (and {more} more)" if more else self._first[key]
        return pb.CaptureGap(kind=kind, completion_index=index, message=message)


def quote(data: bytes) -> str:
    """The beginning of bytes that were not understood, for a message."""
    text = data[:_QUOTED].decode("utf-8", "replace")
    return f"{text!r}" + (f"... ({len(data)} bytes)" if len(data) > _QUOTED else "")
