"""When there is no room for a call that begins now. Decisions only.

Rules:

- The map keeps room for the calls that run: what waits for its commit, and as much again.
- Free pages of the file count as free disk: what is recorded next goes there.
- Neither says that a commit succeeds (a quota, a failing disk, pages that a reader holds), so the last that
  found no room counts until another one has.
"""

from __future__ import annotations

from dataclasses import dataclass

_MAP_SHARE = 8


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes that can still be recorded in the map, bytes free on its disk and in its file; and what the
    last commit lacked, "" for nothing."""

    map_left: int
    disk_free: int
    file_free: int
    lacked: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """`map_kept` and `min_free_disk` are bytes that a new call must leave."""

    max_db_size: int
    map_kept: int
    min_free_disk: int


def limits(max_db_size: int, write_queue_size: int, min_free_disk: int) -> Limits:
    """New calls are refused from half of a full queue on; a small map keeps a share of itself instead."""
    return Limits(max_db_size, min(write_queue_size, max_db_size // _MAP_SHARE), min_free_disk)


def to_spare(found: Found, limits: Limits) -> int:
    """Bytes until there is none; below 0 there is none."""
    return min(found.map_left - limits.map_kept, found.disk_free + found.file_free - limits.min_free_disk)


def why_full(found: Found, limits: Limits) -> str:
    """Cause and remedy; "" when there is room."""
    if found.map_left < limits.map_kept:
        return (
            f"the store is close to max_db_size, {limits.max_db_size} bytes: {max(found.map_left, 0)} are "
            f"left, {limits.map_kept} are kept for calls that run; delete sessions, or restart with more"
        )
    if found.disk_free + found.file_free < limits.min_free_disk:
        return (
            f"the disk of the store has {found.disk_free} bytes free, min_free_disk is "
            f"{limits.min_free_disk}: make room on it, or delete sessions"
        )
    return found.lacked
