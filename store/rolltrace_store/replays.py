"""Counts a replay in a trace that is stored already, without encoding it again. Decisions only.

A field that comes again at the end of a message replaces what it was, so the new count is appended, and
the one before, which ends the message, is cut off. Nothing else of the bytes changes.
"""

from __future__ import annotations

from rolltrace.v1.trace_pb2 import Trace


def one_more(body: bytes) -> bytes:
    """A serialised Trace whose replay_count is greater by one."""
    count = Trace.FromString(body).replay_count
    return body.removesuffix(_field(count)) + _field(count + 1)


def _field(count: int) -> bytes:
    return Trace(replay_count=count).SerializeToString()
