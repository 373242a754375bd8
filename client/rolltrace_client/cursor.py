"""A place in the log, to be kept by whoever reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEQUENCE = re.compile("0|[1-9][0-9]{0,19}")  # a u64, as str() writes it


@dataclass(frozen=True, slots=True)
class Cursor:
    """Just after the event `sequence` of the log `epoch`. str() and parse() turn it into text and back."""

    epoch: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises ValueError for what str() has not written."""
        epoch, colon, sequence = text.rpartition(":")
        if not colon or not _SEQUENCE.fullmatch(sequence):
            raise ValueError(f"{text!r} is no cursor: one looks like EPOCH:SEQUENCE")
        return cls(epoch, int(sequence))
