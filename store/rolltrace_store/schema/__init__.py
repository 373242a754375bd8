"""All tables of the environment, and the version of their bytes.

FORMAT_VERSION MUST grow with every change after which an older release could not read what a newer one
wrote, or the other way round. docs/adr/001-record-layout.md explains the layout.
"""

from __future__ import annotations

from typing import Any

from rolltrace_store.schema.blob import BLOB_SESSIONS, BLOBS, SESSION_BLOBS
from rolltrace_store.schema.codec import Table
from rolltrace_store.schema.counters import COUNTERS
from rolltrace_store.schema.log import LOG
from rolltrace_store.schema.meta import NUMBERS
from rolltrace_store.schema.request import REQUEST_TIMES, REQUESTS
from rolltrace_store.schema.running import RUNNING
from rolltrace_store.schema.seal import SEALED, SEALING
from rolltrace_store.schema.session import SESSIONS
from rolltrace_store.schema.session_trace import SESSION_TRACES
from rolltrace_store.schema.tombstone import TOMBSTONE_TIMES, TOMBSTONES
from rolltrace_store.schema.trace_id import TRACE_IDS
from rolltrace_store.schema.worker import WORKERS

__all__ = [
    "BLOBS",
    "BLOB_SESSIONS",
    "COUNTERS",
    "FORMAT_VERSION",
    "LOG",
    "NUMBERS",
    "REQUESTS",
    "REQUEST_TIMES",
    "RUNNING",
    "SEALED",
    "SEALING",
    "SESSIONS",
    "SESSION_BLOBS",
    "SESSION_TRACES",
    "TABLES",
    "TOMBSTONES",
    "TOMBSTONE_TIMES",
    "TRACE_IDS",
    "WORKERS",
]

FORMAT_VERSION = 3

TABLES: tuple[Table[Any, Any], ...] = (
    NUMBERS,
    SESSIONS,
    COUNTERS,
    LOG,
    TRACE_IDS,
    SESSION_TRACES,
    RUNNING,
    SEALING,
    SEALED,
    TOMBSTONES,
    TOMBSTONE_TIMES,
    WORKERS,
    REQUESTS,
    REQUEST_TIMES,
    BLOBS,
    SESSION_BLOBS,
    BLOB_SESSIONS,
)
