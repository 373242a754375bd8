"""A stream's chunks merged into one object of the shape of a whole answer.

The rules are those of the OpenAI SDK's accumulator: strings are joined, numbers summed, objects merged,
lists of plain values extended, entries with an index merged with the entry of that index, null changes
nothing. Three are our own: what names a thing (role, id, type, ...) is replaced and not joined, since some
servers repeat it in every chunk; an entry is found by its index and not by its place; a value of another
type than before changes nothing instead of raising.

Strings are gathered in lists and joined once, so a long answer costs what it is long.
"""

from __future__ import annotations

from typing import cast

from rolltrace_proxy.raw_json import ANYTHING, NULL, Object, Value, read

_NAMES = frozenset({"role", "id", "type", "index", "finish_reason", "stop_reason"})
_CHUNK_OBJECT = "chat.completion.chunk"


class _Text(list[str]):
    """A string that is still growing."""


class Merge:
    """The merged answer so far."""

    def __init__(self) -> None:
        self._top: Object = {}
        self._choices: dict[int, dict[str, object]] = {}

    def add(self, top: Object, choices: list[tuple[int, Object]]) -> None:
        """One chunk, as the agent sees it, with its choices by index."""
        for key, value in top.items():
            if value != NULL or key not in self._top:
                self._top[key] = value
        for index, choice in choices:
            merged = self._choices.setdefault(index, {"index": index})
            for key, value in choice.items():
                if value == NULL:
                    merged.setdefault(key, None)
                elif key != "index":
                    _merge_member(merged, key, read(ANYTHING, value))

    def message(self, index: int) -> Value:
        """The merged delta of a chat choice, as a message."""
        message = _joined(self._choices.get(index, {}).get("delta"))
        if isinstance(message, dict):
            for call in _dicts(message.get("tool_calls")):
                call.pop("index", None)
        return message

    def text_message(self, index: int) -> Value:
        """The merged text of a completions choice, as a message."""
        return as_message(_joined(self._choices.get(index, {}).get("text")))

    def body(self) -> dict[str, object] | None:
        """The whole answer; None when there was no chunk."""
        if not self._top:
            return None
        top: dict[str, object] = dict(self._top)
        if read(ANYTHING, self._top.get("object", NULL)) == _CHUNK_OBJECT:
            top["object"] = "chat.completion"
        top["choices"] = [self._choice(index) for index in sorted(self._choices)]
        return top

    def _choice(self, index: int) -> dict[str, object]:
        choice = self._choices[index]
        return {
            "message" if key == "delta" else key: self.message(index) if key == "delta" else _joined(value)
            for key, value in choice.items()
        }


def _merge_member(into: dict[str, object], key: str, value: object) -> None:
    before = into.get(key)
    if key in _NAMES:
        into[key] = value if value is not None else before
    elif before is None:
        into[key] = _begin(value)
    else:
        into[key] = _merged(before, value)


def _begin(value: object) -> object:
    """A first value; its lists may already hold two fragments of one index."""
    if isinstance(value, dict):
        return _merged({}, cast("object", value))
    if isinstance(value, list) and any("index" in entry for entry in _dicts(cast("object", value))):
        return _merged([], cast("object", value))
    return value


def _merged(before: object, value: object) -> object:
    if isinstance(before, str) and isinstance(value, str):
        return _Text((before, value))
    if isinstance(before, _Text):
        if isinstance(value, str):
            before.append(value)
    elif isinstance(before, dict) and isinstance(value, dict):
        for key, member in cast("dict[str, object]", value).items():
            _merge_member(cast("dict[str, object]", before), key, member)
    elif isinstance(before, list) and isinstance(value, list):
        for entry in cast("list[object]", value):
            _merge_entry(cast("list[object]", before), entry)
    elif _is_number(before) and _is_number(value):
        return _sum(cast("float", before), cast("float", value))
    return before


def _sum(before: float, value: float) -> float:
    try:
        return before + value
    except OverflowError:  # an integer beyond all floats
        return before


def _merge_entry(entries: list[object], entry: object) -> None:
    if isinstance(entry, dict) and "index" in entry:
        index = cast("dict[str, object]", entry)["index"]
        for known in _dicts(entries):
            if known.get("index") == index:
                _merged(known, cast("object", entry))
                return
    entries.append(entry)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _dicts(value: object) -> list[dict[str, object]]:
    """The objects of a list; none when it is no list."""
    entries = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, object]", entry) for entry in entries if isinstance(entry, dict)]


def _joined(value: object) -> Value:
    if isinstance(value, _Text):
        return "".join(value)
    if isinstance(value, dict):
        return {key: _joined(member) for key, member in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_joined(entry) for entry in cast("list[object]", value)]
    return cast("Value", value)


def as_message(text: Value) -> Value:
    """The text of a completions choice as a message; None when it is no text."""
    return {"role": "assistant", "content": text} if isinstance(text, str) else None
