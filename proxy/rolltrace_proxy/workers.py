"""The workers as this proxy sees them: the store's rows, the policy that they serve, its own calls in flight,
its own breakers.

Rows and policy are read again when their revision has changed; asking for that is cheap enough for every
call. While a worker drains, the counts are reported to the store at every tick of the server, so that
control knows when it is idle.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rolltrace.v1 import worker_pb2 as pb
from rolltrace_proxy.breaker import Breaker
from rolltrace_proxy.routing import Candidate
from rolltrace_settings.settings import WorkerSetting
from rolltrace_settings.tls import read_ca
from rolltrace_store.interface import ReadView, Store, WriteView
from rolltrace_store.worker_url import take_apart, worker_id_of

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class News:
    revision: int
    rows: Sequence[pb.Worker]
    policy_version: str


class Workers:
    def __init__(self, store: Store, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self.policy_version = ""
        """What the workers serve, as far as this proxy has heard; "" when nobody ever said."""
        self._revision: int | None = None
        self._rows: dict[str, pb.Worker] = {}
        self._in_flight: Counter[str] = Counter()
        self._breakers: dict[str, Breaker] = {}
        self._candidates: list[Candidate] = []
        """As they are without a call."""
        self._draining = False

    def look(self, view: ReadView) -> News | None:
        """What has changed since the last news, to be read inside a `read` of the store."""
        revision = view.workers_revision()
        if revision == self._revision:
            return None
        return News(revision, view.workers(), view.policy().policy_version)

    def take(self, news: News | None) -> None:
        """Takes news in, on the loop."""
        if news is None:
            return
        self._revision, self.policy_version = news.revision, news.policy_version
        self._rows = {row.worker_id: row for row in news.rows}
        self._in_flight = +self._in_flight
        self._breakers = {name: self._breakers.get(name, Breaker()) for name in self._rows}
        self._candidates = [_candidate(row) for row in news.rows if row.state != pb.WORKER_STATE_DRAINING]
        self._draining = any(row.state == pb.WORKER_STATE_DRAINING for row in news.rows)

    def rows(self) -> list[pb.Worker]:
        return list(self._rows.values())

    def get(self, worker_id: str) -> pb.Worker | None:
        """None for one that has just gone."""
        return self._rows.get(worker_id)

    def in_flight(self, worker_id: str) -> int:
        return self._in_flight[worker_id]

    def usable(self, row: pb.Worker) -> bool:
        """Whether the worker seems alive, to control's checks and to this proxy's calls."""
        checked = row.health != pb.WORKER_HEALTH_UNHEALTHY
        breaker = self._breakers.get(row.worker_id)
        return checked and not (breaker is not None and breaker.is_open(self._clock()))

    def candidates(self) -> list[Candidate]:
        """All that may take a call, as routing wants to see them."""
        now = self._clock()
        return [self._with_load(candidate, now) for candidate in self._candidates]

    def _with_load(self, candidate: Candidate, now: float) -> Candidate:
        """What of a candidate changes from call to call."""
        in_flight = self._in_flight[candidate.worker_id]
        refusing = self._breakers[candidate.worker_id].is_open(now)
        if not in_flight and not refusing:
            return candidate
        return Candidate(
            candidate.worker_id,
            candidate.model_names,
            candidate.weight,
            in_flight,
            usable=candidate.usable and not refusing,
            cordoned=candidate.cordoned,
            refusing=refusing,
        )

    def begun(self, worker_id: str) -> Breaker:
        """Counts a call as in flight until it `ended`; gives the breaker that hears of its connection."""
        breaker = self._breakers.setdefault(worker_id, Breaker())
        breaker.attempt(self._clock())
        self._in_flight[worker_id] += 1
        return breaker

    def ended(self, worker_id: str) -> None:
        self._in_flight[worker_id] -= 1

    def report(self) -> None:
        """Tells control how many calls run, if it waits for a worker to become idle."""
        if self._draining:
            self._store.report_proxy(dict(self._in_flight))


def _candidate(row: pb.Worker) -> Candidate:
    return Candidate(
        worker_id=row.worker_id,
        model_names=frozenset(row.model_names),
        weight=row.weight or 1.0,
        usable=row.health != pb.WORKER_HEALTH_UNHEALTHY,
        cordoned=row.state == pb.WORKER_STATE_CORDONED,
    )


async def add_configured(store: Store, settings: Sequence[WorkerSetting]) -> None:
    """Registers the workers of the configuration that are not known yet, so that no call waits for control.

    Their ids are those that control gives them: host and port, unless they are given.
    """

    def work(view: WriteView) -> None:
        for row in map(_row, settings):
            if view.worker(row.worker_id) is None:
                view.put_worker(row)

    if settings:
        await store.write(work)


def _row(setting: WorkerSetting) -> pb.Worker:
    url, api_path = take_apart(setting.url, "worker")
    row = pb.Worker(
        worker_id=setting.worker_id or worker_id_of(url),
        url=url,
        model_names=[setting.model_name] if setting.model_name else [],
        weight=setting.weight,
        api_path=setting.api_path or api_path,
        api_key=setting.api_key,
        engine=setting.engine,
        ca_pem=read_ca(setting.ca_file),
        state=pb.WORKER_STATE_ACTIVE,
        health=pb.WORKER_HEALTH_UNKNOWN,
    )
    row.register_time.GetCurrentTime()
    return row
