"""A stream's chunks merged into one object of the shape of a whole answer.

The rules are those of the OpenAI SDK's accumulator: strings are joined, numbers summed, objects merged,
lists of plain values extended, entries with an index merged with the entry of that index, null changes
nothing. Three are our own: what names a thing (role, id, type, ...) is replaced and not joined, since some
servers repeat it in every chunk; an entry is found by its index and not by its place; a value of another
type than before changes nothing instead of raising.

Strings are gathered in lists and joined once, so a long answer costs what it is long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from rolltrace_proxy.raw_json import ANYTHING, NULL, STRING, Object, Value, read, read_member

MAX_DEPTH = 64
"""Merging and joining take two calls a level of a stack that has a thousand."""
NAMES = frozenset({"role", "id", "type", "index", "finish_reason", "stop_reason"})


class _Text:
    """A string that is still growing."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)


_Growing = None | bool | int | float | str | _Text | list["_Growing"] | dict[str, "_Growing"]


class Merge:
    """The merged answer so far."""

    def __init__(self) -> None:
        self._top: Object = {}
        self._choices: dict[int, dict[str, _Growing]] = {}

    def add(self, top: Object, choices: Iterable[tuple[int, Object]]) -> bool:
        """One chunk, as the agent sees it, with its choices by index. False when members of a choice are
        left out: they hold a number that no float can, or nest deeper than MAX_DEPTH."""
        whole = True
        if not top.items() <= self._top.items():
            for key, value in top.items():
                if value != NULL or key not in self._top:
                    self._top[key] = value.copy()  # or it holds the whole chunk that it is a slice of
        for index, choice in choices:
            merged = self._choices.setdefault(index, {"index": index})
            for key, value in choice.items():
                if value == NULL:
                    merged.setdefault(key, None)
                elif key != "index":
                    member = read(ANYTHING, value)
                    if member is None or (len(bytes(value)) > 2 * MAX_DEPTH and _nests(member, MAX_DEPTH)):
                        whole = False
                    else:
                        _merge_member(merged, key, cast("_Growing", member))
        return whole

    def message(self, index: int) -> Value:
        """The merged delta of a chat choice, as a message."""
        message = _joined(self._choices.get(index, {}).get("delta"))
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else []:
            if isinstance(call, dict):
                call.pop("index", None)
        return message

    def text_message(self, index: int) -> Value:
        """The merged text of a completions choice, as a message."""
        return as_message(_joined(self._choices.get(index, {}).get("text")))

    def body(self) -> dict[str, object] | None:
        """The whole answer; None when there was no chunk."""
        if not self._top:
            return None
        body: dict[str, object] = dict(self._top)
        if read_member(STRING, self._top, "object") == "chat.completion.chunk":
            body["object"] = "chat.completion"
        body["choices"] = [self._choice(index) for index in sorted(self._choices)]
        return body

    def _choice(self, index: int) -> dict[str, Value]:
        return {
            "message" if key == "delta" else key: self.message(index) if key == "delta" else _joined(value)
            for key, value in self._choices[index].items()
        }


def _nests(value: Value, levels: int) -> bool:
    """Whether lists and objects nest deeper than that."""
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return not levels or any(_nests(each, levels - 1) for each in inner)
    return False


def as_message(text: Value) -> Value:
    """The text of a completions choice as a message; None when it is no text."""
    return {"role": "assistant", "content": text} if isinstance(text, str) else None


def _merge_member(into: dict[str, _Growing], key: str, value: _Growing) -> None:
    before = into.get(key)
    if value is None:
        into.setdefault(key, None)
    elif before is not None and key not in NAMES:
        into[key] = _merged(before, value)
    elif isinstance(value, (dict, list)):
        # Into something empty, since a first value may already hold two fragments of one index.
        into[key] = _merged({} if isinstance(value, dict) else [], value)
    else:
        into[key] = value


def _merged(before: _Growing, value: _Growing) -> _Growing:
    if isinstance(value, str):
        if isinstance(before, _Text):
            before.parts.append(value)
        elif isinstance(before, str):
            return _Text(before, value)
    elif isinstance(before, dict) and isinstance(value, dict):
        for key, member in value.items():
            _merge_member(before, key, member)
    elif isinstance(before, list) and isinstance(value, list):
        for entry in value:
            _merge_entry(before, entry)
    elif isinstance(before, (int, float)) and isinstance(value, (int, float)):
        return _sum(before, value)
    return before


def _sum(before: float, value: float) -> float:
    if isinstance(before, bool) or isinstance(value, bool):
        return value
    try:
        return before + value
    except OverflowError:  # an integer beyond all floats
        return before


def _merge_entry(entries: list[_Growing], entry: _Growing) -> None:
    if isinstance(entry, dict) and "index" in entry:
        for known in entries:
            if isinstance(known, dict) and known.get("index") == entry["index"]:
                _merged(known, entry)
                return
    entries.append(entry)


def _joined(value: _Growing) -> Value:
    if isinstance(value, _Text):
        return "".join(value.parts)
    if isinstance(value, dict):
        return {key: _joined(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_joined(entry) for entry in value]
    return value
