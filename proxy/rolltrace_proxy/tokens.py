"""The tokens of one completion, gathered piece by piece: a whole answer is one piece, a chunk is another.

Rules. A log-probability belongs to the id that came at the same place of the same piece; when a piece
holds unequal numbers of both, nobody knows which belong together, and the completion keeps its ids and no
log-probabilities. Where the worker gave null, or nothing for a piece, stands NaN. Nothing is filled with 0.

The places are vLLM's, where engines put what other servers give.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from msgspec import Raw, Struct
from msgspec.json import Decoder

from rolltrace_proxy import gaps
from rolltrace_proxy.gaps import Gaps
from rolltrace_proxy.raw_json import Object, given, read

# vLLM: chat has the prompt at the top level, completions in every choice.
PROMPT_KEY = "prompt_token_ids"
ID_KEY = "token_ids"
LOGPROBS_KEY = "logprobs"

_IDS: Decoder[list[int]] = Decoder(list[int])
_NAN = struct.pack("<f", math.nan)


class _TokenLogprob(Struct, gc=False):
    logprob: float | None = None


class _Logprobs(Struct, gc=False):
    """chat: {"content": [{"logprob": x, ...}, ...]}; completions: {"token_logprobs": [x, ...], ...}."""

    content: list[_TokenLogprob] | None = None
    token_logprobs: list[float | None] | None = None

    def values(self) -> list[float | None] | None:
        if self.content is not None:
            return [token.logprob for token in self.content]
        return self.token_logprobs


_LOGPROBS: Decoder[_Logprobs] = Decoder(_Logprobs)


def pack_text(text: Raw | bytes) -> bytes | None:
    """The int32, little-endian, of a JSON list of them; None for anything else."""
    ids = read(_IDS, text)
    try:
        return None if ids is None else struct.pack(f"<{len(ids)}i", *ids)
    except struct.error:
        return None


def read_logprobs(text: Raw | bytes) -> list[float | None] | None:
    """The log-probabilities of an object of vLLM's; None for anything else."""
    logprobs = read(_LOGPROBS, text)
    return None if logprobs is None else logprobs.values()


def pack_logprobs(values: Sequence[float | None]) -> tuple[bytes, int] | None:
    """Little-endian float32, and how many are NaN for None; None when a value is beyond float32."""
    pack = struct.Struct(f"<{len(values)}f").pack
    try:
        try:
            return pack(*values), 0
        except struct.error:  # a None: rare, so not looked for
            return pack(*[math.nan if value is None else value for value in values]), values.count(None)
    except OverflowError:
        return None


class Tokens:
    """One completion's sampled ids and log-probabilities."""

    def __init__(self, index: int, noted: Gaps) -> None:
        self._index = index
        self._gaps = noted
        self._ids = bytearray()
        self._logprobs = bytearray()
        self._given = False
        self._unknown = 0
        self._aligned = True

    def add(self, choice: Object, *, speaks: bool, echoed: int = 0) -> None:
        """One piece. speaks: it holds text; echoed: that many prompt tokens may lead its logprobs."""
        count = self._add_ids(given(choice, ID_KEY), speaks=speaks)
        if count is not None:
            value = given(choice, LOGPROBS_KEY)
            self._add_logprobs(None if value is None else self._read_logprobs(value), count, echoed)

    def _add_ids(self, value: Raw | None, *, speaks: bool) -> int | None:
        """How many; None when they are not to be had."""
        if value is None:
            if speaks:
                self._gaps.note(gaps.TOKEN_IDS, "text came without ids", self._index)
            return None
        self._given = True
        ids = pack_text(value)
        if ids is None:
            self._note(gaps.TOKEN_IDS, f"not a list of 32-bit ids: {gaps.quote(bytes(value))}")
            return None
        self._ids += ids
        return len(ids) // 4

    def _add_logprobs(self, values: Sequence[float | None] | None, count: int, echoed: int) -> None:
        if values is None:
            values = (None,) * count
        elif echoed and len(values) == echoed + count:
            values = values[echoed:]
        packed = pack_logprobs(values)
        if packed is None:
            self._note(gaps.LOGPROBS, "a log-probability is beyond 32-bit floats")
            packed = _NAN * len(values), len(values)
        if len(values) != count:
            self._note_mismatch(count, len(values))
        self._logprobs += packed[0]
        self._unknown += packed[1]

    def _note_mismatch(self, ids: int, logprobs: int) -> None:
        self._aligned = False
        self._note(gaps.MISMATCH, f"{ids} ids came with {logprobs} log-probabilities")

    def _read_logprobs(self, value: Raw) -> list[float | None] | None:
        values = read_logprobs(value)
        if values is None:
            self._note(gaps.LOGPROBS, f"not log-probabilities: {gaps.quote(bytes(value))}")
        return values

    def _note(self, kind: gaps.Kind, message: str) -> None:
        self._gaps.note(kind, message, self._index)

    @property
    def count(self) -> int:
        return len(self._ids) // 4

    def finish(self, *, unasked: str, ended: bool) -> tuple[bytes, bytes]:
        """Ids and log-probabilities, as rolltrace.v1.Completion holds them; notes what is missing."""
        why = f"; not asked for: {unasked}" if unasked else ""
        if not self._given and ended:
            self._note(gaps.TOKEN_IDS, f"the worker gave no sampled ids{why}")
        if not self._aligned:
            return bytes(self._ids), b""
        if self._unknown:
            said = f"none for {self._unknown} of {self.count} ids{why}"
            self._note(gaps.LOGPROBS, said)
        known = self._unknown < self.count
        return bytes(self._ids), bytes(self._logprobs) if known else b""


class LateTokens(Tokens):
    """Of an engine that gives the ids of a stream at its end: the whole stream is one piece."""

    def __init__(self, index: int, noted: Gaps) -> None:
        super().__init__(index, noted)
        self._spoke = False

    def add(self, choice: Object, *, speaks: bool, echoed: int = 0) -> None:
        self._spoke = self._spoke or speaks
        self._add_ids(given(choice, ID_KEY), speaks=False)
        value = given(choice, LOGPROBS_KEY)
        values = None if value is None else self._read_logprobs(value)
        if values is not None:
            self._add_logprobs(values, len(values), 0)

    def finish(self, *, unasked: str, ended: bool) -> tuple[bytes, bytes]:
        if not self._logprobs:
            self._unknown = self.count
        elif self._given and len(self._logprobs) != len(self._ids):
            self._note_mismatch(self.count, len(self._logprobs) // 4)
        return super().finish(unasked=unasked, ended=ended or self._spoke)
