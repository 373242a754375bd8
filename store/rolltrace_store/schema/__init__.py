"""All tables of the environment, and the version of their bytes.

FORMAT_VERSION MUST grow with every change after which an older release could not read what a newer one
wrote, or the other way round. docs/adr/001-record-layout.md explains the layout.
"""

from __future__ import annotations

from typing import Any

from rolltrace_store.schema.codec import Table
from rolltrace_store.schema.counters import COUNTERS
from rolltrace_store.schema.log import LOG
from rolltrace_store.schema.meta import NUMBERS
from rolltrace_store.schema.request import REQUEST_TIMES, REQUESTS
from rolltrace_store.schema.session import SESSIONS
from rolltrace_store.schema.session_trace import SESSION_TRACES
from rolltrace_store.schema.trace_id import TRACE_IDS
from rolltrace_store.schema.worker import WORKERS

__all__ = [
    "COUNTERS",
    "FORMAT_VERSION",
    "LOG",
    "NUMBERS",
    "REQUESTS",
    "REQUEST_TIMES",
    "SESSIONS",
    "SESSION_TRACES",
    "TABLES",
    "TRACE_IDS",
    "WORKERS",
]

FORMAT_VERSION = 1

TABLES: tuple[Table[Any, Any], ...] = (
    NUMBERS,
    SESSIONS,
    COUNTERS,
    LOG,
    TRACE_IDS,
    SESSION_TRACES,
    WORKERS,
    REQUESTS,
    REQUEST_TIMES,
)
