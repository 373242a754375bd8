"""What a worker tells of a completion beside its tokens: which policy versions sampled them, and to which
experts they were routed. In vLLM's places, where engines put it.

Rules. What is not told is no gap, since most workers tell neither; what is told and can't be read is one. A
worker whose version nobody has set calls it "default": that says nothing.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.engines.interface import Engine
from rolltrace_proxy.gaps import Gaps
from rolltrace_proxy.raw_json import STRING, Object, given, read, read_member
from rolltrace_store.arrays import array

VERSION_KEY = "weight_version"
SPANS_KEY = "weight_versions"
EXPERTS_KEY = "routed_experts"
KEYS = frozenset({SPANS_KEY, EXPERTS_KEY})
"""Of a choice."""
_UNSET = "default"


class _Span(Struct, gc=False):
    version: str
    start: int
    end: int


_SPANS: Decoder[list[_Span]] = Decoder(list[_Span])


class Beside:
    """Of one answer."""

    def __init__(self, noted: Gaps, engine: Engine) -> None:
        self._gaps = noted
        self._engine = engine
        self._version = ""
        self._spans: dict[int, list[_Span]] = {}
        self._experts: dict[int, pb.BlobArray] = {}
        self.blobs: dict[bytes, bytes] = {}
        """The arrays that completions name, by their SHA-256."""

    def read_top(self, top: Object) -> None:
        self._version = read_member(STRING, top, VERSION_KEY) or self._version

    def read_choice(self, choice: Object, index: int) -> None:
        """A later chunk's spans stand in place of an earlier one's."""
        spans, experts = given(choice, SPANS_KEY), given(choice, EXPERTS_KEY)
        if spans is not None:
            found = read(_SPANS, spans)
            if found is None:
                self._note(f"not spans of versions: {gaps.quote(bytes(spans))}", index)
            else:
                self._spans[index] = found
        if experts is not None:
            self._read_experts(bytes(experts), index)

    def _read_experts(self, text: bytes, index: int) -> None:
        found = self._engine.experts(text[1:-1])
        if found is None:
            self._note(f"not routed experts: {gaps.quote(text)}", index)
            return
        self._experts[index] = named = array(*found)
        self.blobs[named.blob.digest] = found.data

    def _note(self, message: str, index: int) -> None:
        self._gaps.note(gaps.UNREADABLE, message, index)

    @property
    def version(self) -> str:
        """The one that the call ended with; empty when nothing is told."""
        told = [self._version, *[spans[-1].version for spans in self._spans.values() if spans]]
        return next((version for version in told if version not in ("", _UNSET)), "")

    def fill(self, completion: pb.Completion) -> None:
        """Adds what is told of a completion to it."""
        index = completion.index
        spans, count = self._spans.get(index, []), len(completion.token_ids) // 4
        if not all(0 <= span.start <= span.end <= count for span in spans):
            self._note(f"spans of versions that are not of its {count} ids", index)
        elif any(span.version != _UNSET for span in spans):
            for span in spans:
                completion.version_spans.add(version=span.version, start=span.start, end=span.end)
        if index in self._experts:
            completion.routed_experts.CopyFrom(self._experts[index])
