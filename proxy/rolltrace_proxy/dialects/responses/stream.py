"""A streamed chat completion as the events of a response.

Rules. An item begins with the first thing that is said of it. Reasoning and text end when something of
another kind begins; calls end with the answer, since their fragments may come in any order. The events that
end the answer go out once it is recorded. A text's log-probabilities are those of the tokens that came with
it, and of those without text before and after it; a call's and a reasoning's are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rolltrace_proxy.dialects.responses.answer import REASONING, Asked, response
from rolltrace_proxy.dialects.responses.errors import stream_error
from rolltrace_proxy.dialects.responses.events import Events
from rolltrace_proxy.dialects.responses.members import integer_of, object_of, objects_of, text_of
from rolltrace_proxy.dialects.responses.output import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    INCOMPLETE,
    Ending,
    Json,
    Said,
    ending,
    logprobs_of,
    new_id,
    usage_of,
)
from rolltrace_proxy.raw_json import Object, given, write


@dataclass(slots=True)
class _Growing:
    """What is being said."""

    said: Said
    place: int
    pieces: list[str] = field(default_factory=list[str])
    status: str = IN_PROGRESS

    def gather(self) -> Said:
        self.said.text = "".join(self.pieces)
        return self.said


class ResponseStream:
    """A Reply."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._events = Events()
        self._begun: Json | None = None
        self._all: list[_Growing] = []
        self._speaking: _Growing | None = None
        self._calls: dict[int, _Growing] = {}
        self._waiting: list[Json] = []
        self._finish_reason = ""
        self._usage: Json | None = None
        self._error: Json | None = None
        self._end: Ending | None = None

    def feed(self, chunk: Object, prompt_tokens: int) -> bytes:
        if (error := given(chunk, "error")) is not None:
            self._error = self._error or stream_error(error)
            return b""
        out: list[bytes] = []
        if self._begun is None:
            self._begun = response(self._asked, chunk, Ending(IN_PROGRESS))
            out.append(self._events.begin(self._begun))
        self._usage = usage_of(chunk) or self._usage
        for place, choice in enumerate(objects_of(chunk, "choices")):
            if integer_of(choice, "index", place) == 0:
                self._read(choice, out)
        return b"".join(out)

    def close(self) -> bytes:
        if self._begun is None:
            return b"" if self._error is None else self._events.error(self._error)
        self._end = ending(self._finish_reason) if self._error is None else Ending(FAILED)
        out: list[bytes] = []
        if self._speaking is not None and self._speaking.said.kind == "text":
            self._speaking.said.logprobs += self._waiting
        for growing in self._all:
            if growing.status != IN_PROGRESS:
                continue
            last = growing.place == len(self._all) - 1
            growing.status = COMPLETED if self._end.status == COMPLETED or not last else INCOMPLETE
            if self._error is None:
                out.append(self._events.done(growing.gather(), growing.place, growing.status))
        out.append(self._events.end(self._response(self._begun, self._end), self._end.status))
        return b"".join(out)

    def whole(self) -> bytes:
        if self._begun is None:
            return b""
        return write(self._response(self._begun, self._end or Ending(IN_PROGRESS)))

    def _response(self, begun: Json, end: Ending) -> Json:
        output = [growing.gather().item(growing.status) for growing in self._all]
        return begun | end.members() | {"error": self._error, "output": output, "usage": self._usage}

    def _read(self, choice: Object, out: list[bytes]) -> None:
        self._finish_reason = text_of(choice, "finish_reason") or self._finish_reason
        if self._asked.shows_logprobs:
            self._waiting += logprobs_of(choice)
        delta = object_of(choice, "delta")
        if reasoning := text_of(delta, *REASONING):
            self._waiting = self._waiting if text_of(delta, "content") else []
            if self._asked.shows_reasoning:
                self._speak("reasoning", reasoning, out)
        for kind, key in (("text", "content"), ("refusal", "refusal")):
            if text := text_of(delta, key):
                self._speak(kind, text, out)
        for place, call in enumerate(objects_of(delta, "tool_calls")):
            self._call(place, call, out)

    def _speak(self, kind: str, text: str, out: list[bytes]) -> None:
        growing = self._speaking
        if growing is None or growing.said.kind != kind:
            self._fall_silent(out)
            growing = self._speaking = self._begin(
                Said(kind, new_id(kind, self._asked.id, len(self._all))), out
            )
        logprobs: list[Json] = []
        if kind == "text":
            logprobs, self._waiting = self._waiting, logprobs
            growing.said.logprobs += logprobs
        self._grow(growing, text, logprobs, out)

    def _call(self, place: int, call: Object, out: list[bytes]) -> None:
        """A fragment of a call; fragments of one have its index."""
        self._fall_silent(out)
        self._waiting = []
        index = integer_of(call, "index", place)
        function = object_of(call, "function")
        growing = self._calls.get(index)
        if growing is None:
            own = new_id("call", self._asked.id, len(self._all))
            said = Said("call", own, call_id=text_of(call, "id") or own, name=text_of(function, "name"))
            growing = self._calls[index] = self._begin(said, out)
        if arguments := text_of(function, "arguments"):
            self._grow(growing, arguments, [], out)

    def _begin(self, said: Said, out: list[bytes]) -> _Growing:
        growing = _Growing(said, len(self._all))
        self._all.append(growing)
        out.append(self._events.added(said, growing.place))
        return growing

    def _grow(self, growing: _Growing, text: str, logprobs: list[Json], out: list[bytes]) -> None:
        growing.pieces.append(text)
        out.append(self._events.delta(growing.said, growing.place, text, logprobs))

    def _fall_silent(self, out: list[bytes]) -> None:
        """Ends the reasoning or the text that is being said."""
        growing, self._speaking = self._speaking, None
        if growing is not None:
            growing.status = COMPLETED
            out.append(self._events.done(growing.gather(), growing.place, COMPLETED))
