"""What a store is, whatever engine is behind it: the contract that the services are written against.

A store keeps sessions, workers and traces, and one log in which every change has a sequence. Its
values are the messages of `rolltrace.v1`; a stored trace is a `Trace` in the COMPACT view.

Rules that every engine MUST keep, and that the contract suite (tests/store/contract.py) holds:

- A `work` function runs inside one transaction and is given a view. It MUST be quick, MUST NOT await or
  keep the view, and MAY run in another thread. It MAY run again when its transaction could not be
  committed, so what it does beside the view MUST bear that. If it raises, nothing that it wrote is kept,
  and the error reaches the caller as it is.
- When `write` returns, or the future of `append_trace` has its result, the transaction is durable (as
  `Durability` says) and every later `read`, in any process, sees it.
- A call that was admitted has a row until its trace is recorded, in the same transaction, so that there is
  no moment at which it is neither. Rows of dead proxies become INTERRUPTED traces (`interrupt_orphans`).
- Sequences grow by one with each event, in the order of the transactions, and are never used again.
- Reads never wait for writers.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from rolltrace.v1 import event_pb2
from rolltrace.v1.event_pb2 import DeleteReason, EventKind
from rolltrace.v1.policy_service_pb2 import Policy
from rolltrace.v1.session_pb2 import Outcome, Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store.cutting import NO_BLOBS, Blobs

T = TypeVar("T")


class Durability(enum.StrEnum):
    """What a commit survives."""

    POWER = "power"
    """A power cut: the commit is synced to the disk."""
    PROCESS = "process"
    """kill -9 of any process, not a power cut: the commit is in the operating system's hands.

    Calls are committed on the event loop: it writes to the page cache, and waits for the disk only where the
    kernel makes whoever writes wait.
    """


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


class Commit(NamedTuple):
    """Where a trace came to stand."""

    sequence: int
    call_index: int


@dataclass(frozen=True, slots=True)
class Request:
    """A mutation's identity: the caller's request_id, the RPC's name and a digest of its fields."""

    request_id: str
    rpc: str
    digest: bytes


class Glance(NamedTuple):
    """What a call that arrives asks of its session. The counts are those of recorded calls, late ones out.

    `row` is a serialised Session as it is stored, without what `ReadView.session` counts, and None when there
    is no session: two that are equal say the same, so who asks often may keep what it has parsed. `deleted`:
    there is no session, but a tombstone.
    """

    row: bytes | None
    deleted: bool = False
    call_count: int = 0
    refused_call_count: int = 0
    """Part of `call_count`."""
    token_count: int = 0
    """Of their prompts and completions."""


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that was admitted and has not ended.

    `trace` is what was known of it at its admission; `check` a CRC-32 of its request, which tells most
    requests apart from others; `proxy_id` names the proxy, one life of it, that runs it.
    """

    proxy_id: str
    check: int
    trace: Trace


@dataclass(frozen=True, slots=True)
class Sealing:
    """A session on its way to be sealed. `deadline` is in nanoseconds since 1970."""

    session_id: str
    cancel: bool
    deadline: int


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
        """The session with its counts; base_url and api_key are not set."""
        ...

    def glance(self, session_id: str) -> Glance:
        """As `session` and `deleted`, without parsing or counting anything; cheap to ask on every call."""
        ...

    def deleted(self, session_id: str) -> int | None:
        """When a session of this id was deleted, in nanoseconds since 1970, while its tombstone lasts."""
        ...

    def running(self, session_id: str = "") -> Iterator[RunningCall]:
        """The calls that were admitted and have not ended; of one session, or all."""
        ...

    def sealing(self) -> Sequence[Sealing]:
        """The sessions that are SEALING; cheap to ask often."""
        ...

    def sealed(self) -> Iterator[tuple[int, str]]:
        """Sealed sessions as (seal time in nanoseconds since 1970, session_id), the oldest first."""
        ...

    def secret(self) -> bytes:
        """32 random bytes, made with the environment: the key of its sessions' keys."""
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

    def standalone(self, trace: Trace) -> Trace:
        """The COMPACT form of a COMPACT trace that rests on no other. Raises CorruptError."""
        ...

    def blob_piece(self, digest: bytes, number: int) -> bytes | None:
        """A piece of a blob, from 0, of at most 1 MiB; None after its last, and if there is no such blob."""
        ...

    def has_blob(self, digest: bytes) -> bool:
        """Whether a trace that is kept has it."""
        ...

    def worker(self, worker_id: str) -> Worker | None:
        """The worker with its api_key."""
        ...

    def workers(self) -> Sequence[Worker]:
        """All workers by id, with their api_keys."""
        ...

    def workers_revision(self) -> int:
        """A number that changes whenever a worker or the policy does; cheap to ask on every call."""
        ...

    def policy(self) -> Policy:
        """The version that the workers serve; an empty message when nobody ever said."""
        ...

    def remembered(self, request: Request) -> bytes | None:
        """The answer that was kept for this request; raises RequestReusedError if for another one."""
        ...

    def stats(self) -> StoreStats: ...


class WriteView(ReadView, Protocol):
    """A transaction that can change the store, and sees its own changes."""

    def create_session(self, session: Session) -> Session:
        """Adds it as OPEN with create_time set, and lifts a tombstone; raises AlreadyExistsError."""
        ...

    def update_session(self, session: Session) -> Session:
        """Replaces the metadata and the sampling_params of an OPEN session by those of `session`.

        Raises NotFoundError, SealedError.
        """
        ...

    def begin_seal(self, session_id: str, outcome: Outcome | None, *, cancel: bool, deadline: int) -> Session:
        """Makes an OPEN session SEALING and keeps the outcome; `deadline` as in Sealing.

        Again: takes an outcome where there was none, `cancel` if it was not, the earlier deadline; a SEALED
        session stays as it is. Raises NotFoundError; SealedError when there is another outcome already.
        """
        ...

    def finish_seal(self, session_id: str) -> Session:
        """Seals a SEALING session and logs session_sealed: counts and digest are final.

        Calls that run make it incomplete. Raises NotFoundError when there is no such SEALING session.
        """
        ...

    def delete_session(
        self,
        session_id: str,
        reason: DeleteReason.ValueType = event_pb2.DELETE_REASON_REQUESTED,
    ) -> int:
        """Removes it with its traces and running calls, leaves a tombstone, logs session_deleted.

        Returns how many traces went. Raises NotFoundError.
        """
        ...

    def forget(self, before: int, most: int = 1000) -> int:
        """Removes tombstones older than `before` (nanoseconds since 1970), then trims the log.

        What may go is the log's beginning, up to the first event of a session that is kept, or of a
        deletion that has its tombstone still. Removes at most so many rows; returns how many.
        """
        ...

    def note_replay(self, trace_id: str) -> None:
        """Adds one to the trace's replay_count. Raises NotFoundError."""
        ...

    def put_worker(self, worker: Worker) -> None:
        """Adds or replaces it, and logs worker_changed (without the api_key)."""
        ...

    def remove_worker(self, worker_id: str) -> None:
        """Removes it and logs worker_changed. Raises NotFoundError."""
        ...

    def set_policy_version(self, policy_version: str) -> Policy:
        """Says which version the workers serve from now on, and logs policy_changed.

        Does nothing when it is that one already. Raises InvalidArgumentError for what may be none.
        """
        ...

    def remember(self, request: Request, response: bytes) -> None:
        """Keeps the answer of a request for at least an hour. Does nothing without a request_id."""
        ...


class Store(Protocol):
    """An open environment."""

    @property
    def folder(self) -> Path:
        """Where on this machine what belongs to the environment lies; whoever may read it may read all."""
        ...

    async def read(self, work: Callable[[ReadView], T]) -> T:
        """Runs `work` on a consistent view."""
        ...

    async def write(self, work: Callable[[WriteView], T]) -> T:
        """Runs `work` in a transaction and returns when it is durable.

        Raises what `work` raises, StoreFullError, StoreBusyError, StoreClosedError.
        """
        ...

    def admit(self, trace: Trace, check: int) -> asyncio.Future[None]:
        """Says that a call begins; `trace` is what is known of it, without bodies. See RunningCall.

        Not to be awaited on a call's way: the future tells whether it could be recorded. It fails with
        SessionDeletedError (a tombstone is there), SealedError (the session was SEALED), StoreFullError. An
        open one creates the session if there is none. Raises at once StoreBusyError, StoreFullError.

        It starts no commit for some milliseconds but goes with the next one, or with the call's own trace,
        and then the call never shows as running. `trace` is read when it is written: until the future is done
        it MUST NOT get what a running call should not show.
        """
        ...

    def hurry(self) -> None:
        """Commits now what waits for company (`admit`). Not awaited."""
        ...

    def append_trace(self, trace: Trace, blobs: Blobs = NO_BLOBS) -> asyncio.Future[Commit]:
        """Records a FULL trace; the future is done when it is durable.

        `blobs` are the arrays that the trace names (Completion.routed_experts, see `array`) by their SHA-256:
        these and no others, or it fails with InvalidArgumentError. Large strings of the bodies are kept as
        blobs too, see cutting.py.

        Creates the session if there is none. Sets sequence, call_index, parent_trace_id, digest and late
        in what is stored, not in `trace`, which MUST NOT change until the future is done. If that is
        cancelled the trace is recorded all the same. It fails as `write` does; with SessionDeletedError when
        the session was deleted since the call was admitted; and with what its admission fails with, if that
        is not committed yet and the session takes no calls.
        """
        ...

    async def interrupt_orphans(self) -> int:
        """Records an INTERRUPTED trace for every running call whose proxy is gone; returns how many."""
        ...

    def check_room(self) -> None:
        """Raises StoreFullError while a call that begins now might not be recorded. Cheap; no I/O."""
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
