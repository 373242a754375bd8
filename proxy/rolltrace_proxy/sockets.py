"""How many calls the open files of a process suffice for. No I/O."""

from __future__ import annotations

FILES_PER_CALL = 2
"""The agent's connection and the worker's."""
SPARE_FILES = 256
"""For the store, health checks, and agents that are told to come back later."""


def affordable_calls(open_files: int) -> int:
    """How many calls may run at the same time; at least one."""
    return max(1, (open_files - SPARE_FILES) // FILES_PER_CALL)


def files_needed(calls: int) -> int:
    """The limit on open files under which so many calls can run."""
    return FILES_PER_CALL * calls + SPARE_FILES
