"""An answer that came in one body: what the agent gets of it, and what the trace keeps."""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy import gaps
from rolltrace_proxy.capture import Captured, Reader, error_message
from rolltrace_proxy.merge import as_message
from rolltrace_proxy.plain_answer import read_plain_answer
from rolltrace_proxy.prompts import ReadPrompt
from rolltrace_proxy.raw_json import OBJECTS, STRING, Object, given, mend, read_member, read_object, write
from rolltrace_proxy.rewrite import Rewrite
from rolltrace_proxy.tokens import pack_text


def read_whole_answer(
    rewrite: Rewrite, status: int, body: bytes, read_prompt: ReadPrompt = pack_text
) -> tuple[bytes, Captured]:
    """The body for the agent, and the capture of a whole body with its HTTP status. Never raises.

    A body that has to be mended to be read goes on as it came. So does an error answer (status from 400
    on), which has no gaps: its status says all.
    """
    plain = read_plain_answer(rewrite, body, read_prompt) if status < 400 and rewrite.captures else None
    return plain or read_carefully(rewrite, status, body, read_prompt)


def read_carefully(
    rewrite: Rewrite, status: int, body: bytes, read_prompt: ReadPrompt
) -> tuple[bytes, Captured]:
    """The same, member by member, whatever the body is."""
    top = read_object(body)
    if top is None and (mended := mend(body)) is not None:
        return body, read_carefully(rewrite, status, mended, read_prompt)[1]
    if status >= 400:
        said = None if top is None else error_message(top)
        return body, Captured(response_json=body, error=said or f"the worker answered HTTP {status}")
    reader = Reader(rewrite, read_prompt)
    if not rewrite.captures:
        reader.gaps.note_uncaptured(rewrite.unasked)
        return body, Captured(response_json=body, gaps=reader.gaps.messages())
    choices = None if top is None else read_member(OBJECTS, top, "choices")
    if top is None or choices is None:
        reader.error = None if top is None else error_message(top)
        reader.gaps.note(gaps.UNREADABLE, f"not an answer with choices: {gaps.quote(body)}")
        return body, Captured(response_json=body, gaps=reader.gaps.messages(), error=reader.error)
    told, settled = rewrite.engine.settle(top, choices)
    reader.read_top(told, choice_count=len(choices))
    indexes = [reader.read_choice(place, choice, speaks=False) for place, choice in enumerate(settled)]
    body = _stripped(rewrite, body, top, choices)
    messages: dict[int, bytes] = {}
    for index, choice in zip(indexes, choices, strict=False):
        if index in messages:
            reader.gaps.note(gaps.MISMATCH, "several choices have this index: its tokens are theirs", index)
        messages[index] = _message_json(choice)
    return body, reader.finish(messages, body, ended=True)


def _message_json(choice: Object) -> bytes:
    message = given(choice, "message")
    if message is not None:
        return bytes(message)
    text = as_message(read_member(STRING, choice, "text"))
    return b"" if text is None else write(text)


def _stripped(rewrite: Rewrite, body: bytes, top: Object, choices: list[Object]) -> bytes:
    """The body without what Rolltrace asked for; it is taken out of top and choices."""
    if not rewrite.engine.take_out(top, choices, rewrite.added):
        return body
    top["choices"] = Raw(write(choices))
    return write(top)
