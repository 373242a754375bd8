"""Where two walks saw different things. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Steps = Sequence[Mapping[str, Json]]

ABSENT: Final = "(absent)"


@dataclass(frozen=True, slots=True)
class Place:
    """Something that differs: `where` is "STEP: PATH", in which "each" stands for a member of a list."""

    where: str
    theirs: Json
    ours: Json


def places(theirs: Steps, ours: Steps) -> list[Place]:
    """All places that differ between two walks of the same steps, in their order."""
    names = [[str(step["step"]) for step in steps] for steps in (theirs, ours)]
    assert names[0] == names[1], "the walks did not take the same steps"
    return [
        place
        for name, one, other in zip(names[0], theirs, ours, strict=True)
        for place in _of_step(name, one["saw"], other["saw"])
    ]


def _of_step(name: str, theirs: Json, ours: Json) -> Iterator[Place]:
    """One place where one gave an answer and the other an error."""
    assert isinstance(theirs, dict)
    assert isinstance(ours, dict)
    if ("returned" in theirs) != ("returned" in ours):
        yield Place(f"{name}: outcome", theirs, ours)
    else:
        yield from _between(f"{name}: ", theirs, ours)


def _between(where: str, theirs: Json, ours: Json) -> Iterator[Place]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            yield from _between(_within(where, key), theirs.get(key, ABSENT), ours.get(key, ABSENT))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for one, other in zip(theirs, ours, strict=True):
            yield from _between(_within(where, "each"), one, other)
    elif type(theirs) is not type(ours) or theirs != ours:
        yield Place(where, theirs, ours)


def _within(where: str, key: str) -> str:
    return f"{where}{'' if where.endswith(': ') else '.'}{key}"
