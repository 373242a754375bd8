"""The store: sessions, workers, traces and the log, on LMDB. The only part that knows bytes on disk."""

from rolltrace_store.errors import (
    AlreadyExistsError,
    CorruptError,
    ForeignEnvironmentError,
    InvalidArgumentError,
    NotFoundError,
    RequestReusedError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreFullError,
)
from rolltrace_store.interface import (
    Commit,
    Durability,
    LogState,
    ProxyReport,
    ReadView,
    Record,
    Request,
    Store,
    StoreStats,
    WriteView,
)
from rolltrace_store.lmdb_store import StoreOptions, open_store
from rolltrace_store.names import check_request_id, check_session_id, check_trace_id, check_worker_id

__all__ = [
    "AlreadyExistsError",
    "Commit",
    "CorruptError",
    "Durability",
    "ForeignEnvironmentError",
    "InvalidArgumentError",
    "LogState",
    "NotFoundError",
    "ProxyReport",
    "ReadView",
    "Record",
    "Request",
    "RequestReusedError",
    "Store",
    "StoreBusyError",
    "StoreClosedError",
    "StoreError",
    "StoreFullError",
    "StoreOptions",
    "StoreStats",
    "WriteView",
    "check_request_id",
    "check_session_id",
    "check_trace_id",
    "check_worker_id",
    "open_store",
]
