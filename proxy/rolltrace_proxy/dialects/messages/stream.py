"""A message as it grows, written as the events of Anthropic's stream.

Rules. Blocks never interleave: one is open, and the next is begun once nothing can be missing of it, however
a worker mixes the calls of several tools. Text and thinking go out as they come. The input of a tool goes out
in one piece when it is whole, as Anthropic does unless a tool asks for `eager_input_streaming`: clients
raise for pieces that turn out to be no JSON, so what a model wrote amiss must be known by then. Meanwhile
pings keep the connection alive. What ends without a finish reason ends with an error event, which like any
end goes out once the answer is recorded.
"""

from __future__ import annotations

from rolltrace_proxy.capture import error_message
from rolltrace_proxy.dialects.messages.answer import NO_INPUT, Block, Message
from rolltrace_proxy.dialects.messages.errors import error_object, status_of_chunk
from rolltrace_proxy.raw_json import Object, write

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_QUIET = 32
"""Chunks without an event after which a ping is sent."""


def event(kind: str, **members: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), write({"type": kind, **members}))


def error_event(status: int, message: str) -> bytes:
    return b"event: error\ndata: %b\n\n" % error_object(status, message)


class MessageStream:
    """A dialects.interface.Reply."""

    def __init__(self, trace_id: str, eager: frozenset[str] = frozenset()) -> None:
        self._message = Message(trace_id)
        self._eager = eager
        self._started = False
        self._error = b""
        self._quiet = 0
        # The block that is open, and how many of its parts went out; -1 before it is begun.
        self._at = 0
        self._sent = -1

    def feed(self, chunk: Object, prompt_tokens: int) -> bytes:
        said = error_message(chunk)
        if said is not None:
            self._error = self._error or error_event(status_of_chunk(chunk), said)
        if self._error:
            return b""
        self._message.add(chunk, prompt_tokens)
        if not self._message.begun:
            return b""
        out = self._start() + self._blocks(ended=bool(self._message.finish_reason))
        self._quiet = 0 if out else self._quiet + 1
        if self._quiet < _QUIET:
            return out
        self._quiet = 0
        return _PING

    def close(self) -> bytes:
        if self._error:
            return self._error
        message = self._message
        if not message.finish_reason:
            return error_event(500, "The worker's answer ended before it was finished.")
        message.end()
        last = event("message_delta", delta=message.stop(), usage=message.usage())
        return self._start() + self._blocks(ended=True) + last + event("message_stop")

    def whole(self) -> bytes:
        return write(self._message.body()) if self._message.begun else b""

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return event("message_start", message=self._message.head())

    def _blocks(self, *, ended: bool) -> bytes:
        """What can be said of the blocks now. ended: they all are whole."""
        out: list[bytes] = []
        blocks = self._message.blocks
        while self._at < len(blocks):
            block = blocks[self._at]
            followed = self._at + 1 < len(blocks)
            whole = ended or (followed and block.is_whole())
            out += self._block(block, whole=whole)
            if not whole:
                break
            self._at, self._sent = self._at + 1, -1
        return b"".join(out)

    def _block(self, block: Block, *, whole: bool) -> list[bytes]:
        out: list[bytes] = []
        if self._sent < 0:
            out.append(event("content_block_start", index=self._at, content_block=_opening(block)))
            self._sent = 0
        out += self._deltas(block, whole=whole)
        if whole and block.kind == "thinking":
            out.append(self._delta("signature", self._message.signature))
        if whole:
            out.append(event("content_block_stop", index=self._at))
        return out

    def _deltas(self, block: Block, *, whole: bool) -> list[bytes]:
        if block.kind == "tool_use" and block.name not in self._eager:
            said = block.input() if whole else NO_INPUT
            return [] if said == NO_INPUT else [self._input(bytes(said).decode())]
        new, self._sent = "".join(block.parts[self._sent :]), len(block.parts)
        if not new:
            return []
        return [self._input(new) if block.kind == "tool_use" else self._delta(block.kind, new)]

    def _delta(self, kind: str, said: str) -> bytes:
        return event("content_block_delta", index=self._at, delta={"type": f"{kind}_delta", kind: said})

    def _input(self, said: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": said}
        return event("content_block_delta", index=self._at, delta=delta)


def _opening(block: Block) -> dict[str, object]:
    """The block before anything is said in it."""
    return Block(block.kind, tool_id=block.tool_id, name=block.name).content("")
