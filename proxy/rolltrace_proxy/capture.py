"""What an answer says, read for the trace: from one whole answer or from all chunks of a stream.

Rules. Every member is read by itself, so that one of a wrong type costs only itself. Nothing here raises
for what a worker may send: what is not there, or not as it should be, becomes a named gap. A call that
broke off or was answered with an error has a status that says so: then only what was seen is judged, not
what never came.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Raw, Struct
from msgspec.json import Decoder

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.beside import KEYS, VERSION_KEY, Beside
from rolltrace_proxy.gaps import Gaps
from rolltrace_proxy.prompts import ReadPrompt
from rolltrace_proxy.raw_json import ANYTHING, INTEGER, OBJECT, STRING, Object, given, read, read_member
from rolltrace_proxy.rewrite import Rewrite
from rolltrace_proxy.tokens import PROMPT_KEY, LateTokens, Tokens, pack_text
from rolltrace_store.cutting import Blobs

# vLLM's (FinishReason), and those of the OpenAI API.
FINISH_REASONS = frozenset(
    {"stop", "length", "tool_calls", "abort", "repetition", "content_filter", "function_call"}
)
MAX_INDEX = 2**32 - 1
_ERROR = Raw(b'"error"')


@dataclass(slots=True)
class Captured:
    """What a trace takes from the answer, in the forms of rolltrace.v1.Trace."""

    prompt_token_ids: bytes = b""
    completions: list[pb.Completion] = field(default_factory=list[pb.Completion])
    response_json: bytes = b""
    usage: pb.Usage | None = None
    gaps: list[pb.CaptureGap] = field(default_factory=list[pb.CaptureGap])
    # As the worker reports it; empty when it does not.
    model: str = ""
    # As the worker reports it; empty when it does not.
    policy_version: str = ""
    # The arrays that completions name, if they name any.
    blobs: Blobs | None = None
    # What the worker said went wrong; None when it said nothing of the kind.
    error: str | None = None


class _PromptDetails(Struct):
    cached_tokens: int | None = None


class UsageFields(Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


_USAGE: Decoder[UsageFields] = Decoder(UsageFields)


class Reader:
    """Gathers prompt, tokens, finish reasons and usage; the answer's text is its callers' business."""

    def __init__(self, rewrite: Rewrite, read_prompt: ReadPrompt = pack_text) -> None:
        self.gaps = Gaps()
        self.error: str | None = None
        self.model = ""
        self._rewrite = rewrite
        self._beside = Beside(self.gaps, rewrite.engine)
        self._kind = LateTokens if rewrite.late else Tokens
        self._read_ids = read_prompt
        # Packed: thousands of streams hold theirs at once, and a list of numbers takes ten times as much.
        self._prompt: bytes | None = None
        self._tokens: dict[int, Tokens] = {}
        self._finish_reasons: dict[int, str] = {}
        self._usage: UsageFields | None = None
        self._usage_is_whole = False
        self._prompts_differ = False

    def read_top(self, top: Object, *, choice_count: int) -> None:
        """The members beside choices. Usage in a chunk with a choice covers that choice alone."""
        if not self.model:
            self.model = read_member(STRING, top, "model") or ""
        self._read_prompt(given(top, PROMPT_KEY), None)
        if VERSION_KEY in top:
            self._beside.read_top(top)
        usage = read_member(_USAGE, top, "usage")
        if usage is not None:
            self._usage = usage
            self._usage_is_whole = choice_count == 0 or not self._rewrite.streamed

    def read_choice(self, place: int, choice: Object, *, speaks: bool) -> int:
        """One choice of an answer or chunk; speaks: it holds text. Returns its index."""
        index = self._index(place, choice)
        self._read_prompt(given(choice, PROMPT_KEY), index)
        tokens = self._tokens.get(index)
        if tokens is None:
            tokens = self._tokens[index] = self._kind(index, self.gaps)
        echoed = self.prompt_count if self._rewrite.echoes and not tokens.count else 0
        tokens.add(choice, speaks=speaks, echoed=echoed)
        if not KEYS.isdisjoint(choice):
            self._beside.read_choice(choice, index)
        reason = given(choice, "finish_reason")
        if reason is not None:
            self._finish_reasons[index] = self._finish_reason(reason, index)
        return index

    @property
    def prompt_count(self) -> int:
        return len(self._prompt or b"") // 4

    @property
    def indexes(self) -> list[int]:
        """Of the choices read so far."""
        return list(self._tokens)

    def _index(self, place: int, choice: Object) -> int:
        value = choice.get("index")
        index = place if value is None else read(INTEGER, value)
        if index is None or not 0 <= index <= MAX_INDEX:
            self.gaps.note(gaps.UNREADABLE, f"a choice's index is {gaps.quote(bytes(value or b''))}")
            return place
        return index

    def _read_prompt(self, value: Raw | None, index: int | None) -> None:
        if value is None:
            return
        ids = self._read_ids(bytes(value))
        if ids is None:
            said = f"not a list of 32-bit ids: {gaps.quote(bytes(value))}"
            self.gaps.note(gaps.PROMPT_TOKEN_IDS, said)
        elif self._prompt is None:
            self._prompt = ids
        elif ids != self._prompt:
            self._prompts_differ = True
            self.gaps.note(gaps.MISMATCH, "its prompt is not the trace's: the call had several", index)

    def _finish_reason(self, value: Raw, index: int) -> str:
        reason = read(STRING, value)
        if reason not in FINISH_REASONS:
            self.gaps.note(gaps.FINISH_REASON, f"not known: {gaps.quote(bytes(value))}", index)
        return reason or ""

    def finish(self, messages: dict[int, bytes], response_json: bytes, *, ended: bool) -> Captured:
        """messages: message_json by index. ended: the answer came to its end."""
        ended = ended and self.error is None
        if ended and not self._tokens:
            self.gaps.note(gaps.UNREADABLE, "the answer has no choices")
        elif ended and len(self._tokens) < self._rewrite.choices:
            said = f"{len(self._tokens)} of the {self._rewrite.choices} choices that were asked for"
            self.gaps.note(gaps.MISMATCH, f"the answer has only {said}")
        completions = [self._completion(index, messages, ended=ended) for index in sorted(self._tokens)]
        if self._prompt is None and completions:
            why = f"; not asked for: {self._rewrite.unasked}" if self._rewrite.unasked else ""
            self.gaps.note(gaps.PROMPT_TOKEN_IDS, f"the worker gave no prompt ids{why}")
        usage = self._usage if self._usage_is_whole or len(completions) == 1 else None
        if ended and completions and usage is not None:
            self._compare(usage)
        for completion in completions:
            self._beside.fill(completion)
        return Captured(
            prompt_token_ids=self._prompt or b"",
            completions=completions,
            response_json=response_json,
            usage=None if usage is None else usage_message(usage),
            gaps=self.gaps.messages(),
            model=self.model,
            policy_version=self._beside.version,
            blobs=self._beside.blobs or None,
            error=self.error,
        )

    def _completion(self, index: int, messages: dict[int, bytes], *, ended: bool) -> pb.Completion:
        if ended and index not in self._finish_reasons:
            self.gaps.note(gaps.FINISH_REASON, "the worker gave none", index)
        ids, logprobs = self._tokens[index].finish(unasked=self._rewrite.unasked, ended=ended)
        return pb.Completion(
            index=index,
            token_ids=ids,
            logprobs=logprobs,
            finish_reason=self._finish_reasons.get(index, ""),
            message_json=messages.get(index, b""),
        )

    def _compare(self, usage: UsageFields) -> None:
        """Against the ids, where all of them are there."""
        sampled = sum(tokens.count for tokens in self._tokens.values())
        if sampled != usage.completion_tokens and not self.gaps.has(gaps.TOKEN_IDS):
            said = f"{sampled} sampled ids, but usage counts {usage.completion_tokens}"
            self.gaps.note(gaps.MISMATCH, said)
        if self.gaps.has(gaps.PROMPT_TOKEN_IDS):
            return
        prompt = self.prompt_count
        if prompt != usage.prompt_tokens and not self._prompts_differ:
            self.gaps.note(gaps.MISMATCH, f"{prompt} prompt ids, but usage counts {usage.prompt_tokens}")


def usage_message(usage: UsageFields) -> pb.Usage | None:
    details = usage.prompt_tokens_details
    try:
        return pb.Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_prompt_tokens=None if details is None else details.cached_tokens,
        )
    except ValueError:  # below 0 or beyond 64 bits
        return None


def error_message(top: Object) -> str | None:
    """What an error answer says: {"error": {"message": ...}}, {"error": ...}, {"detail": ...}, or SGLang's
    {"object": "error", "message": ...}; else None."""
    error = given(top, "error") or given(top, "detail")
    if error is None and top.get("object") == _ERROR:
        error = given(top, "message")
    if error is None:
        return None
    fields = read(OBJECT, error)
    said = read(ANYTHING, error) if fields is None else read_member(ANYTHING, fields, "message")
    return said if isinstance(said, str) and said else bytes(error).decode("utf-8", "replace")
