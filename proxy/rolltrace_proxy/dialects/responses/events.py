"""The events of a response's stream: their grammar, and nothing of where they come from."""

from __future__ import annotations

from rolltrace_proxy.dialects.responses.output import COMPLETED, FAILED, IN_PROGRESS, Json, Said
from rolltrace_proxy.raw_json import write

_LAST = {COMPLETED: "response.completed", FAILED: "response.failed"}


class Events:
    """Numbers and writes them. Each method gives the bytes of its events."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self, response: Json) -> bytes:
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def end(self, response: Json, status: str) -> bytes:
        """Of an answer that is completed, has failed, or is incomplete in any other way."""
        return self._event(_LAST.get(status, "response.incomplete"), response=response)

    def error(self, error: Json) -> bytes:
        """Of an answer that never began."""
        return self._event("error", **error, param=None)

    def added(self, said: Said, place: int) -> bytes:
        """`said` has no text yet."""
        added = self._event("response.output_item.added", output_index=place, item=said.item(IN_PROGRESS))
        if said.kind == "call":
            return added
        return added + self._of(said, place, "response.content_part.added", part=said.part())

    def delta(self, said: Said, place: int, text: str, logprobs: list[Json]) -> bytes:
        more = {"logprobs": logprobs} if said.kind == "text" else {}
        return self._of(said, place, f"response.{_STEMS[said.kind]}.delta", delta=text, **more)

    def done(self, said: Said, place: int, status: str) -> bytes:
        """`said` is all there."""
        if said.kind == "call":
            whole = self._of(
                said, place, "response.function_call_arguments.done", name=said.name, arguments=said.text
            )
        else:
            more = {"logprobs": said.logprobs} if said.kind == "text" else {}
            key = "refusal" if said.kind == "refusal" else "text"
            whole = self._of(said, place, f"response.{_STEMS[said.kind]}.done", **{key: said.text}, **more)
            whole += self._of(said, place, "response.content_part.done", part=said.part())
        return whole + self._event("response.output_item.done", output_index=place, item=said.item(status))

    def _of(self, said: Said, place: int, kind: str, **members: object) -> bytes:
        index = {} if said.kind == "call" else {"content_index": 0}
        return self._event(kind, item_id=said.id, output_index=place, **index, **members)

    def _event(self, kind: str, **members: object) -> bytes:
        numbered = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), write(numbered))


_STEMS = {
    "reasoning": "reasoning_text",
    "text": "output_text",
    "refusal": "refusal",
    "call": "function_call_arguments",
}
