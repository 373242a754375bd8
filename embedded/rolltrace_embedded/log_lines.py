"""A line that a service has logged, as console.py writes it: its level, and what it says. A decision."""

from __future__ import annotations

import logging
import re

LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARNING|ERROR) +(.*)")


def read_line(line: str) -> tuple[int, str]:
    """A line of another form, e.g. of a traceback, is a WARNING."""
    found = LINE.match(line)
    return (logging.getLevelNamesMapping()[found[1]], found[2]) if found else (logging.WARNING, line)
