"""The store on LMDB: joins the environment, the writer, the doorbell and the presence. A shell."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import lmdb

from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.arrays import check_arrays
from rolltrace_store.batch import Committer
from rolltrace_store.commit_thread import Chore
from rolltrace_store.cutting import NO_BLOBS, Blobs
from rolltrace_store.doorbell import Bell, Folder, Ringer
from rolltrace_store.environment import Environment, open_environment, readers_error
from rolltrace_store.errors import NotFoundError, StoreClosedError, StoreError
from rolltrace_store.expansion import Expander
from rolltrace_store.interface import Commit, Durability, ProxyReport, ReadView, WriteView
from rolltrace_store.interruption import interrupted
from rolltrace_store.names import check_session_id, check_trace_id
from rolltrace_store.operations import Admission, Append, Batch, Work
from rolltrace_store.presence import Presence, live_proxies
from rolltrace_store.read_view import LmdbReadView, running_call
from rolltrace_store.room import LOOK_INTERVAL, Room
from rolltrace_store.room_rules import limits
from rolltrace_store.schema.running import RunningKey, RunningRow
from rolltrace_store.writer import Writer

T = TypeVar("T")

MIB = 1 << 20
_WORK_SIZE = 1024
_READERS_INTERVAL = 5.0
_SWEPT_AT_ONCE = 256
_POLL = 0.25
_POLL_WITHOUT_BELL = 0.01

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How to open a store. Sizes in bytes; the names are those of the settings.

    `max_db_size` MUST be the same in every process of an environment. Half of `history_cache_size` is for
    what a writer remembers of sessions, half for expanded traces. With less than `min_free_disk` free on the
    disk no call should begin (`check_room`).
    """

    durability: Durability = Durability.POWER
    max_db_size: int = 1 << 40
    history_cache_size: int = 256 * MIB
    write_queue_size: int = 256 * MIB
    min_free_disk: int = 64 * MIB


DEFAULTS = StoreOptions()


def open_store(
    path: str | Path,
    options: StoreOptions = DEFAULTS,
    *,
    proxy: bool = False,
    clock: Callable[[], int] = time.time_ns,
) -> LmdbStore:
    """Opens the environment in directory `path`, or makes it.

    `proxy`: be seen by `live_proxies`. `clock` gives nanoseconds since 1970; only times are taken from it.

    Raises ForeignEnvironmentError when the path holds something else, StoreError when it can't be opened
    (one process opens a path once).
    """
    environment = open_environment(Path(path), options.durability, options.max_db_size)
    try:
        return LmdbStore(environment, options, proxy, clock)
    except OSError as error:
        environment.close()
        raise StoreError(f"{path} cannot be used: {error}") from error


def _checked(trace: Trace) -> RunningKey:
    """The names of a call. Raises InvalidArgumentError."""
    key = RunningKey(trace.session_id, trace.trace_id)
    check_session_id(key.session_id)
    check_trace_id(key.trace_id)
    return key


class LmdbStore:
    """Implements interface.Store. All its methods belong to one event loop."""

    def __init__(
        self, environment: Environment, options: StoreOptions, proxy: bool, clock: Callable[[], int]
    ) -> None:
        self._environment = environment
        self._closed = False
        self._expander = Expander(options.history_cache_size // 2)
        self._bells = Folder(environment.path)
        self._ringer = Ringer(self._bells)
        self._bell: Bell | None = None
        self._presence = Presence(environment.path) if proxy else None
        self._committer = Committer(environment, self._expander, options.history_cache_size // 2, clock)
        self._room = Room(
            environment, limits(options.max_db_size, options.write_queue_size, options.min_free_disk)
        )
        chores = (Chore(LOOK_INTERVAL, self._room.look), Chore(_READERS_INTERVAL, self._check_readers))
        inline = options.durability is Durability.PROCESS
        self._writer = Writer(self._commit, chores, options.write_queue_size, inline=inline)

    def _commit(self, batch: Batch, wait: bool) -> bool:
        grown = self._committer.commit(batch, wait=wait)
        if grown is None:
            return False
        self._room.settled(batch)
        if grown:
            self._ringer.ring()
        return True

    @property
    def folder(self) -> Path:
        return self._environment.path

    async def read(self, work: Callable[[ReadView], T]) -> T:
        return self._read(work)

    def _read(self, work: Callable[[LmdbReadView], T]) -> T:
        self._check_open()
        try:
            with self._begin() as txn:
                return work(LmdbReadView(self._environment, txn, self._expander))
        except lmdb.MapResizedError as error:
            raise StoreError("another process opened the store with a larger max_db_size: use one") from error
        except lmdb.ReadersFullError as error:
            raise readers_error() from error
        except lmdb.Error as error:
            raise StoreError(f"the store cannot be read: {error}") from error

    def _begin(self) -> lmdb.Transaction[bytes]:
        try:
            return self._environment.lmdb.begin()
        except lmdb.ReadersFullError:
            self._check_readers()
            return self._environment.lmdb.begin()

    async def write(self, work: Callable[[WriteView], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(Work(_WORK_SIZE, future, work))
        return await future

    def admit(self, trace: Trace, check: int) -> asyncio.Future[None]:
        key = _checked(trace)
        if self._presence is None:
            raise RuntimeError("only a store that was opened with proxy=True admits calls")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        size = _WORK_SIZE + trace.ByteSize()
        self._writer.submit(Admission(size, future, key, self._presence.proxy_id, check, trace))
        return future

    def hurry(self) -> None:
        self._writer.hurry()

    def append_trace(self, trace: Trace, blobs: Blobs = NO_BLOBS) -> asyncio.Future[Commit]:
        return self._append(trace, blobs)

    def _append(
        self, trace: Trace, blobs: Blobs = NO_BLOBS, *, orphan: bool = False
    ) -> asyncio.Future[Commit]:
        future: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        try:
            _checked(trace)
            check_arrays(trace, blobs)
            size = trace.ByteSize() + sum(map(len, blobs.values()))
            self._writer.submit(Append(size, future, trace, orphan, blobs))
        except StoreError as error:
            future.set_exception(error)
        return future

    async def interrupt_orphans(self) -> int:
        rows = self._read(lambda view: list(view.running_rows()))
        # Only now: a proxy that is not seen after its call was is gone.
        live = {report.proxy_id for report in live_proxies(self._environment.path)}
        orphans = [row for row in rows if row.proxy_id not in live]
        count = 0
        for start in range(0, len(orphans), _SWEPT_AT_ONCE):
            count += await self._interrupt(orphans[start : start + _SWEPT_AT_ONCE])
        return count

    async def _interrupt(self, orphans: Sequence[RunningRow]) -> int:
        traces = [interrupted(running_call(row)) for row in orphans]
        done = await asyncio.gather(
            *[self._append(trace, orphan=True) for trace in traces], return_exceptions=True
        )
        for result in done:
            if isinstance(result, BaseException) and not isinstance(result, NotFoundError):
                raise result
        return sum(isinstance(result, Commit) for result in done)

    def check_room(self) -> None:
        self._check_open()
        self._room.check()

    async def wait(self, after: int, timeout: float) -> int:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        self._check_open()
        if self._bell is None:
            self._bell = Bell(self._bells)
        poll = _POLL if self._bell.audible else _POLL_WITHOUT_BELL
        while (head := self._read(LmdbReadView.head)) <= after and (left := end - loop.time()) > 0:
            await self._bell.heard(min(left, poll))
        return head

    def report_proxy(self, in_flight: Mapping[str, int]) -> None:
        self._check_open()
        if self._presence is not None:
            self._presence.report(in_flight)

    async def live_proxies(self) -> Sequence[ProxyReport]:
        self._check_open()
        return live_proxies(self._environment.path)

    def queued_bytes(self) -> int:
        return self._writer.queued_bytes

    async def close(self) -> None:
        await self._writer.close()
        if self._closed:
            return
        self._closed = True
        if self._presence is not None:
            self._presence.close()
        if self._bell is not None:
            self._bell.close()
        self._ringer.close()
        self._bells.close()
        self._environment.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError("the store is closed")

    def _check_readers(self) -> None:
        """Frees the slots of readers that died."""
        try:
            self._environment.lmdb.reader_check()
        except lmdb.Error:
            log.exception("readers cannot be checked")
