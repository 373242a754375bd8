"""A forced tool call: which ids may come next, and how a call is read back from text.

A grammar is a generator: it yields the set of ids allowed next, and is sent the id that was drawn.
So the model still chooses wherever there is a choice (the tool, an enum's member, a word, a
digit), and what it can't choose has log-probability 0.0. Arguments follow the schema's types; a
string is a word of the user's message or, where that has none, a word that the model spells
itself.
"""

import json
import re
from collections.abc import Generator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

from rolltrace_demo.byte_tokens import encode
from rolltrace_demo.chat_template import call_frame
from rolltrace_demo.openai_requests import Tool

Grammar = Generator[AbstractSet[int], int, None]
JsonObject = dict[str, object]

_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_QUOTE = frozenset(b'"')
_DIGITS = [str(digit) for digit in range(10)]
_LONGEST_WORD = 12
_DEEPEST = 4


_WRITTEN = re.compile(
    r'<tool_call>\n\{"name": (?P<name>"(?:[^"\\]|\\.)*"),(?: "arguments": (?P<rest>.*))?', re.DOTALL
)


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """What a text says of its call so far: the whole name, and JSON that may still grow."""

    name: str
    arguments: str
    complete: bool


def written_call(text: str) -> WrittenCall | None:
    """The call that an answer's text begins to make; None before its name is whole."""
    match = _WRITTEN.match(text)
    if match is None:
        return None
    rest = match["rest"] or ""
    try:
        end = json.JSONDecoder().raw_decode(rest)[1]
    except ValueError:
        end = len(rest)
    return WrittenCall(json.loads(match["name"]), rest[:end], text.endswith("</tool_call>"))


def forced_call(tools: Sequence[Tool], user_text: str) -> Grammar:
    """One whole call to one of the tools, end of turn included."""
    frames = {tool.function.name: call_frame(tool.function.name) for tool in tools}
    opening = yield from _one_of([opening for opening, _ in frames.values()])
    tool = next(t for t in tools if frames[t.function.name][0] == opening)
    yield from _object(tool.function.parameters or {}, _words(user_text), 0)
    yield from _literal(frames[tool.function.name][1] + "<|im_end|>")


def _words(text: str) -> list[str]:
    """What a string argument may be: a name that the text mentions, else one of its long words."""
    return re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", text) or re.findall(r"[A-Za-z]{4,}", text)


def _value(schema: JsonObject, words: Sequence[str], depth: int) -> Grammar:
    members = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(members, list) and members:
        members = cast(list[object], members)
        yield from _one_of([json.dumps(member, ensure_ascii=False) for member in members])
        return
    match schema.get("type"):
        case "integer":
            yield from _one_of(_DIGITS)
        case "number":
            yield from _one_of(_DIGITS)
            yield from _literal(".")
            yield from _one_of(_DIGITS)
        case "boolean":
            yield from _one_of(["true", "false"])
        case "null":
            yield from _literal("null")
        case "array":
            yield from _array(schema, words, depth)
        case "object":
            yield from _object(schema, words, depth)
        case _:
            yield from _string(words)


def _object(schema: JsonObject, words: Sequence[str], depth: int) -> Grammar:
    properties = _mapping(schema.get("properties")) if depth < _DEEPEST else {}
    yield from _literal("{")
    for position, (name, inner) in enumerate(properties.items()):
        separator = ", " if position else ""
        yield from _literal(f"{separator}{json.dumps(name, ensure_ascii=False)}: ")
        yield from _value(_mapping(inner), words, depth + 1)
    yield from _literal("}")


def _array(schema: JsonObject, words: Sequence[str], depth: int) -> Grammar:
    yield from _literal("[")
    if depth < _DEEPEST:
        yield from _value(_mapping(schema.get("items")), words, depth + 1)
    yield from _literal("]")


def _string(words: Sequence[str]) -> Grammar:
    if words:
        yield from _one_of([f'"{word}"' for word in words])
        return
    yield from _literal('"')
    yield _LETTERS
    for _ in range(_LONGEST_WORD - 1):
        if (yield _LETTERS | _QUOTE) in _QUOTE:
            return
    yield _QUOTE


def _literal(text: str) -> Grammar:
    for token_id in encode(text):
        yield {token_id}


def _one_of(texts: Sequence[str]) -> Generator[AbstractSet[int], int, str]:
    """Exactly one of the texts. One that begins with another of them (10 beside 1) is left out."""
    shortest = [t for t in texts if not any(t != other and t.startswith(other) for other in texts)]
    left = {text: encode(text) for text in shortest}
    position = 0
    while any(len(ids) > position for ids in left.values()):
        drawn = yield {ids[position] for ids in left.values()}
        left = {text: ids for text, ids in left.items() if ids[position] == drawn}
        position += 1
    return next(iter(left))


def _mapping(value: object) -> JsonObject:
    return cast(JsonObject, value) if isinstance(value, dict) else {}
