"""What a store is, whatever engine is behind it: the contract that the services are written against.

A store keeps sessions, workers and traces, and one log in which every change has a sequence. Its
values are the messages of `rolltrace.v1`; a stored trace is a `Trace` in the COMPACT view.

Rules that every engine MUST keep, and that the contract suite (tests/store/contract.py) holds:

- A `work` function runs inside one transaction and is given a view. It MUST be quick, MUST NOT await or
  keep the view, and MAY run in another thread. It MAY run again when its transaction could not be
  committed, so what it does beside the view MUST bear that. If it raises, nothing that it wrote is kept,
  and the error reaches the caller as it is.
- When `write` or `append_trace` returns, the transaction is durable (as `Durability` says) and every
  later `read`, in any process, sees it.
- Sequences grow by one with each event, in the order of the transactions, and are never used again.
- Reads never wait for writers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rolltrace.v1.event_pb2 import EventKind
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.worker_pb2 import Worker

T = TypeVar("T")


class Durability(enum.StrEnum):
    """What a commit survives."""

    POWER = "power"
    """A power cut: the commit is synced to the disk."""
    PROCESS = "process"
    """kill -9 of any process, not a power cut: the commit is in the operating system's hands."""


@dataclass(frozen=True, slots=True)
class LogState:
    """Where the log stands. `earliest` is `head + 1` when it is empty; `head` is 0 when it always was.

    `compacted` is the last sequence that was dropped for another reason than a deleted session, whose
    traces have session_deleted in their place; 0 when none was.
    """

    epoch: str
    earliest: int
    head: int
    compacted: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One stored event. `body` is the serialised message of its kind (event.proto); a Trace is COMPACT."""

    sequence: int
    kind: EventKind.ValueType
    body: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """Where a trace came to stand."""

    sequence: int
    call_index: int


@dataclass(frozen=True, slots=True)
class Request:
    """A mutation's identity: the caller's request_id, the RPC's name and a digest of its fields."""

    request_id: str
    rpc: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class ProxyReport:
    """What a running proxy says of itself. `in_flight` counts its calls by worker_id."""

    proxy_id: str
    pid: int
    in_flight: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Sizes in bytes and counts of rows."""

    session_count: int
    trace_count: int
    used_bytes: int
    file_bytes: int
    limit_bytes: int


class ReadView(Protocol):
    """A consistent look at the store, within one `work`."""

    def session(self, session_id: str) -> Session | None:
        """The session with its counts; base_url is not set."""
        ...

    def sessions(self, after: str = "") -> Iterator[Session]:
        """Sessions with ids greater than `after`, by the bytes of their ids."""
        ...

    def trace(self, trace_id: str) -> bytes | None:
        """A serialised COMPACT Trace."""
        ...

    def traces(self, session_id: str, from_index: int = 0) -> Iterator[bytes]:
        """The session's serialised COMPACT traces from `call_index` `from_index` on, in that order."""
        ...

    def events(self, after: int) -> Iterator[Record]:
        """Events with sequences greater than `after`, in order."""
        ...

    def log_state(self) -> LogState: ...

    def expand(self, trace: Trace) -> Trace:
        """The FULL form of a COMPACT trace. Raises CorruptError when its chain is broken."""
        ...

    def worker(self, worker_id: str) -> Worker | None:
        """The worker with its api_key."""
        ...

    def workers(self) -> Sequence[Worker]:
        """All workers by id, with their api_keys."""
        ...

    def workers_revision(self) -> int:
        """A number that changes whenever a worker does; cheap to ask on every call."""
        ...

    def remembered(self, request: Request) -> bytes | None:
        """The answer that was kept for this request; raises RequestReusedError if for another one."""
        ...

    def stats(self) -> StoreStats: ...


class WriteView(ReadView, Protocol):
    """A transaction that can change the store, and sees its own changes."""

    def create_session(self, session: Session) -> Session:
        """Adds it as OPEN with create_time set; raises AlreadyExistsError."""
        ...

    def delete_session(self, session_id: str) -> int:
        """Removes it with its traces, logs session_deleted, returns how many traces went.

        Raises NotFoundError.
        """
        ...

    def put_worker(self, worker: Worker) -> None:
        """Adds or replaces it, and logs worker_changed (without the api_key)."""
        ...

    def remove_worker(self, worker_id: str) -> None:
        """Removes it and logs worker_changed. Raises NotFoundError."""
        ...

    def remember(self, request: Request, response: bytes) -> None:
        """Keeps the answer of a request for at least an hour. Does nothing without a request_id."""
        ...


class Store(Protocol):
    """An open environment."""

    async def read(self, work: Callable[[ReadView], T]) -> T:
        """Runs `work` on a consistent view."""
        ...

    async def write(self, work: Callable[[WriteView], T]) -> T:
        """Runs `work` in a transaction and returns when it is durable.

        Raises what `work` raises, StoreFullError, StoreBusyError, StoreClosedError.
        """
        ...

    def admit(self, session_id: str) -> None:
        """Says that a call of this session begins, so that the session comes into being. Not awaited."""
        ...

    async def append_trace(self, trace: Trace) -> Commit:
        """Records a FULL trace and returns when it is durable.

        Creates the session if there is none. Sets sequence, call_index and parent_trace_id in what is
        stored, not in `trace`, which MUST NOT change until this returns. If the caller is cancelled
        the trace is recorded all the same. Raises as `write`.
        """
        ...

    async def wait(self, after: int, timeout: float) -> int:
        """The log's head, as soon as it is greater than `after`, or after `timeout` seconds."""
        ...

    def report_proxy(self, in_flight: Mapping[str, int]) -> None:
        """Tells other processes how many calls this one has in flight, by worker_id. Not awaited."""
        ...

    async def live_proxies(self) -> Sequence[ProxyReport]:
        """The proxies that run now; those that died, however they did, are not among them."""
        ...

    def queued_bytes(self) -> int:
        """Bytes that wait to be committed."""
        ...

    async def close(self) -> None:
        """Commits what is queued, then closes. Later calls raise StoreClosedError."""
        ...
