"""The answer: what a chat completion says, gathered as the blocks of one message.

Rules. Blocks stand in the order in which they began; thinking and text that go on after another block are
blocks of their own. The input of a tool is the model's JSON as it stands; what is no JSON object, which
models do write, becomes {"INVALID_JSON": what was written}, as Anthropic names it: agents read it, and can
say so to the model. Usage counts as Anthropic does: the prompt's tokens that a cache gave apart from the
others. stop_reason is null where the engine broke off by itself. Nothing is invented for a member that is
missing, but for numbers of tokens, which every client wants: 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Raw, Struct
from msgspec.json import Decoder

from rolltrace_proxy.raw_json import (
    ANYTHING,
    INTEGER,
    OBJECT,
    OBJECTS,
    STRING,
    Object,
    Value,
    given,
    read,
    read_member,
    write,
)

INVALID = "INVALID_JSON"
NO_INPUT = Raw(b"{}")
_STOPPED = frozenset({"stop", "tool_calls", "function_call"})
_REASONS = {"length": "max_tokens", "content_filter": "refusal"}


class _PromptDetails(Struct):
    cached_tokens: int | None = None
    created_cache_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


_USAGE: Decoder[_Usage] = Decoder(_Usage)


@dataclass(slots=True)
class Block:
    """`parts` is thinking, text, or the JSON of a tool's input."""

    kind: str
    parts: list[str] = field(default_factory=list[str])
    tool_id: str = ""
    name: str = ""
    # How many parts there were when it was last looked whether they are whole, and whether they were.
    _looked_at: int = -1
    _whole: bool = False

    @property
    def said(self) -> str:
        return "".join(self.parts)

    def is_whole(self) -> bool:
        """Whether nothing can be missing of a block that another one follows."""
        if self.kind != "tool_use":
            return True
        if self._looked_at != len(self.parts):
            self._looked_at = len(self.parts)
            ends = bool(self.parts) and self.parts[-1].rstrip().endswith("}")
            self._whole = ends and read(OBJECT, self.said.encode()) is not None
        return self._whole

    def input(self) -> Raw:
        said = self.said.strip()
        if said in ("", "null"):
            return NO_INPUT
        value: Value = read(ANYTHING, said.encode())
        if isinstance(value, dict):
            return Raw(said.encode())
        return Raw(write({INVALID: self.said}))

    def content(self, signature: str) -> dict[str, object]:
        if self.kind == "tool_use":
            return {"type": self.kind, "id": self.tool_id, "name": self.name, "input": self.input()}
        signed = {"signature": signature} if self.kind == "thinking" else {}
        return {"type": self.kind, self.kind: self.said, **signed}


class Message:
    """One message, from the chunks of a stream or from one that says all."""

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id
        self.blocks: list[Block] = []
        self._tools: dict[int, Block] = {}
        self.begun = False
        self.finish_reason = ""
        self.model = ""
        self._matched: Raw | None = None
        self._usage = _Usage()

    def add(self, chunk: Object, prompt_tokens: int = 0) -> None:
        """prompt_tokens: as far as they are known before the answer's usage."""
        choices = read_member(OBJECTS, chunk, "choices")
        usage = read_member(_USAGE, chunk, "usage")
        if usage is not None:
            self._usage = usage
        elif prompt_tokens and not self._usage.prompt_tokens:
            self._usage.prompt_tokens = prompt_tokens
        self.model = self.model or read_member(STRING, chunk, "model") or ""
        for choice in choices or []:
            if read_member(INTEGER, choice, "index") in (0, None):
                self._add_choice(choice)

    def _add_choice(self, choice: Object) -> None:
        self.begun = True
        delta = read_member(OBJECT, choice, "delta") or read_member(OBJECT, choice, "message") or {}
        thought = read_member(STRING, delta, "reasoning") or read_member(STRING, delta, "reasoning_content")
        self._say("thinking", thought)
        self._say("text", read_member(STRING, delta, "content"))
        calls = read_member(OBJECTS, delta, "tool_calls")
        for place, call in enumerate(calls or []):
            self._call(place, call)
        reason = read_member(STRING, choice, "finish_reason")
        if reason:
            self.finish_reason = reason
            self._matched = given(choice, "stop_reason") or given(choice, "matched_stop")  # vLLM, SGLang

    def _say(self, kind: str, said: str | None) -> None:
        if not said:
            return
        if not self.blocks or self.blocks[-1].kind != kind:
            self.blocks.append(Block(kind))
        self.blocks[-1].parts.append(said)

    def _call(self, place: int, call: Object) -> None:
        index = read_member(INTEGER, call, "index")
        index = place if index is None else index
        function = read_member(OBJECT, call, "function") or {}
        block = self._tools.get(index)
        if block is None:
            block = self._tools[index] = Block("tool_use", tool_id=self._tool_id(call))
            self.blocks.append(block)
        block.name = block.name or read_member(STRING, function, "name") or ""
        said = read_member(STRING, function, "arguments")
        if said:
            block.parts.append(said)

    def _tool_id(self, call: Object) -> str:
        given_id = read_member(STRING, call, "id")
        return given_id or f"toolu_{self._trace_id.replace('-', '')}_{len(self.blocks)}"

    def end(self) -> None:
        """Clients read the first block without looking whether there is one."""
        if not self.blocks:
            self.blocks.append(Block("text"))

    @property
    def signature(self) -> str:
        """Of thinking. Clients do not send thinking again that has an empty one."""
        return self._trace_id

    def stop(self) -> dict[str, object]:
        """stop_reason and stop_sequence."""
        reason = _REASONS.get(self.finish_reason)
        if self.finish_reason not in _STOPPED:
            return {"stop_reason": reason, "stop_sequence": None}
        tools = list(self._tools.values())
        matched = None if self._matched is None else read(STRING, self._matched)
        if matched is not None and not (tools and tools[-1].is_whole()):
            return {"stop_reason": "stop_sequence", "stop_sequence": matched}
        called = tools or self.finish_reason != "stop"
        return {"stop_reason": "tool_use" if called else "end_turn", "stop_sequence": None}

    def usage(self) -> dict[str, object]:
        """As far as it is known."""
        usage, details = self._usage, self._usage.prompt_tokens_details
        read_, made = (
            (None, None) if details is None else (details.cached_tokens, details.created_cache_tokens)
        )
        cached = {"cache_creation_input_tokens": made, "cache_read_input_tokens": read_}
        fresh = usage.prompt_tokens - (read_ or 0) - (made or 0)
        return {
            "input_tokens": max(0, fresh),
            "output_tokens": usage.completion_tokens or 0,
            **{key: value for key, value in cached.items() if value is not None},
        }

    def head(self) -> dict[str, object]:
        """The message before anything is said."""
        return {
            "id": f"msg_{self._trace_id.replace('-', '')}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self.usage(),
        }

    def body(self) -> dict[str, object]:
        content = [block.content(self.signature) for block in self.blocks]
        return {**self.head(), "content": content, **self.stop()}
