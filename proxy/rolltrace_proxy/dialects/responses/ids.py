"""The ids of responses and their items: made from the trace's, so that the trace can be found by them.

A response's is "resp_" and the 32 hex digits of its trace's UUID; an item's is its kind's prefix, the same
digits and two or more of its place in the output.
"""

from __future__ import annotations

import re

_OURS = re.compile(r"[a-z]+_([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})[0-9a-f]*")


def response_id(trace_id: str) -> str:
    return f"resp_{trace_id.replace('-', '')}"


def item_id(response: str, prefix: str, place: int) -> str:
    """Of the item at this place of the response's output."""
    return f"{prefix}_{response.removeprefix('resp_')}{place:02x}"


def trace_id(ours: str) -> str:
    """Of the call whose answer has, or holds, what has this id; "" for an id that is not of this form."""
    found = _OURS.fullmatch(ours)
    return "-".join(found.groups()) if found else ""
