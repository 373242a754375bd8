"""Counts what Python does, instead of timing it: the same on an idle machine and on a busy one."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import TraceFunction


@dataclass(frozen=True, slots=True)
class Work:
    """Calls of Python functions, and bytecode instructions in them."""

    calls: int
    instructions: int


def work_of(function: Callable[[], object]) -> Work:
    """What one call of `function` takes; what it does in C is not seen."""
    calls = instructions = 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction:
        nonlocal calls, instructions
        if event == "call":
            calls += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            instructions += 1
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # who asks to be called at a collection would be counted too, as Hypothesis does
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return Work(calls, instructions)
