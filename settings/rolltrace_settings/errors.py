"""What is wrong with a setting, in one line for a person.

An error names where the value came from (a flag, a variable, a file and its line), what is wrong with it,
and what to write instead. It never holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterable


class SettingsError(ValueError):
    """A setting cannot be used. `str()` is one line: what a person or a file put into it is escaped."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in message))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` with the known name that is most like `name`, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.65)
    return f"; did you mean {close[0]}?" if close else ""
