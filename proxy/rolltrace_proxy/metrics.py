"""What the proxy counts, for Prometheus.

Rule: labels are few and bounded; an endpoint that is not well known counts as "other". With several proxies
PROMETHEUS_MULTIPROC_DIR is set, and any of them answers for all.
"""

from __future__ import annotations

import collections
import os
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from rolltrace.v1 import trace_pb2 as pb

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
_KNOWN = frozenset({"chat/completions", "completions", "responses", "messages", "embeddings", "models"})
_CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


_MOST_SERIES = 1000


def endpoint_label(endpoint: str) -> str:
    return endpoint if endpoint in _KNOWN else "other"


class _Times(Histogram):
    """A histogram that takes many values at once, for the price of a few."""

    def observe_all(self, seconds: list[float]) -> None:
        counts = collections.Counter(bisect_left(self._upper_bounds, each) for each in seconds)
        for place, count in counts.items():
            self._buckets[place].inc(count)  # pyright: ignore[reportUnknownMemberType]  # untyped there
        self._sum.inc(sum(seconds))  # pyright: ignore[reportUnknownMemberType]


@dataclass(slots=True)
class _Series:
    """What calls of one kind count in, and what is still to be counted there."""

    calls: Counter
    latency: _Times
    first_byte: _Times
    ended: int = 0
    latencies: list[float] = field(default_factory=list[float])
    first_bytes: list[float] = field(default_factory=list[float])

    def count(self) -> None:
        if self.ended:
            self.calls.inc(self.ended)
            self.latency.observe_all(self.latencies)
            self.first_byte.observe_all(self.first_bytes)
            self.ended, self.latencies, self.first_bytes = 0, [], []


class Metrics:
    def __init__(self) -> None:
        # Counted a few times a second, which is cheaper than call by call.
        self._series: dict[tuple[str, int, int], _Series] = {}
        self._commits: list[float] = []
        self._registry = r = CollectorRegistry()
        self.calls = Counter(
            "rolltrace_calls", "Recorded calls that ended.", ["endpoint", "status", "http_status"], registry=r
        )
        self.passed = Counter("rolltrace_passed", "Requests forwarded without a record.", registry=r)
        self.denied = Counter("rolltrace_denied", "Requests that access denied.", ["reason"], registry=r)
        self.latency = _Times(
            "rolltrace_call_seconds",
            "From admission to the end of the worker's answer.",
            ["endpoint"],
            registry=r,
            buckets=_CALL_SECONDS,
        )
        self.first_byte = _Times(
            "rolltrace_time_to_first_token_seconds",
            "From admission to the first byte of the worker's body.",
            ["endpoint"],
            registry=r,
            buckets=_CALL_SECONDS,
        )
        self.commit = _Times(
            "rolltrace_commit_seconds",
            "Waiting for a trace to be durable.",
            registry=r,
            buckets=_COMMIT_SECONDS,
        )
        self.lost = Counter("rolltrace_lost_traces", "Calls that the store could not record.", registry=r)
        self.unrecorded = _gauge("rolltrace_unrecorded_calls", "Lost calls that are still to be named.", r)
        self.refusals = Counter(
            "rolltrace_refusals", "Calls that were refused or failed.", ["fault"], registry=r
        )
        self.joins = Counter("rolltrace_joins", "Repeats that waited for a call that ran.", registry=r)
        self.replays = Counter("rolltrace_replays", "Repeats that got a recorded answer.", registry=r)
        self.gaps = Counter("rolltrace_capture_gaps", "Gaps in recorded calls.", ["kind"], registry=r)
        self.in_flight = _gauge("rolltrace_calls_in_flight", "Calls that run now.", r)
        self.queued = _gauge("rolltrace_store_queued_bytes", "Bytes that wait to be committed.", r)
        self.lag = Histogram(
            "rolltrace_event_loop_lag_seconds",
            "How late the event loop runs.",
            registry=r,
            buckets=_COMMIT_SECONDS,
        )
        self.worker_up = Gauge(
            "rolltrace_worker_up",
            "Whether a worker seems alive.",
            ["worker_id"],
            registry=r,
            multiprocess_mode="livemin",
        )
        self.worker_in_flight = _gauge("rolltrace_worker_calls_in_flight", "By worker.", r, ("worker_id",))

    def committed(self, seconds: float) -> None:
        """A trace waited so long to be durable."""
        self._commits.append(seconds)

    def ended(self, trace: pb.Trace) -> None:
        """A recorded call."""
        endpoint, status, http_status = trace.endpoint, trace.status, trace.http_status
        series = self._series.get((endpoint, status, http_status))
        if series is None:
            series = self._series_of(endpoint, status, http_status)
        series.ended += 1
        series.latencies.append(_seconds(trace.latency))
        if trace.HasField("time_to_first_token"):
            series.first_bytes.append(_seconds(trace.time_to_first_token))
        for gap in trace.capture_gaps:
            kind = pb.CaptureGapKind.Name(gap.kind).removeprefix("CAPTURE_GAP_KIND_").lower()
            self.gaps.labels(kind).inc()

    def count(self) -> None:
        """Counts what has ended since this was called last."""
        for series in self._series.values():
            series.count()
        if self._commits:
            self.commit.observe_all(self._commits)
            self._commits = []

    def _series_of(self, endpoint: str, status: pb.CallStatus.ValueType, http_status: int) -> _Series:
        label = endpoint_label(endpoint)
        name = pb.CallStatus.Name(status).removeprefix("CALL_STATUS_").lower()
        if len(self._series) >= _MOST_SERIES:  # an endpoint is the agent's to name
            self.count()
            self._series.clear()
        series = self._series[endpoint, status, http_status] = _Series(
            self.calls.labels(label, name, str(http_status)),
            self.latency.labels(label),
            self.first_byte.labels(label),
        )
        return series

    def render(self, worker_ids: Collection[str]) -> bytes:
        """The text exposition format, of workers only those that are registered now."""
        self.count()
        registry = self._registry
        if os.environ.get(MULTIPROC_DIR):
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped there
        shown = CollectorRegistry()
        shown.register(_Present(registry, worker_ids))
        return generate_latest(shown)


class _Present(Collector):
    """What another registry holds, less the workers that have gone and the times at which series began.

    The shared files of several proxies can't forget a worker, so that it is left out as they are read.
    """

    def __init__(self, source: CollectorRegistry, worker_ids: Collection[str]) -> None:
        self._source = source
        self._worker_ids = worker_ids

    def collect(self) -> Iterator[Metric]:
        for metric in self._source.collect():
            metric.samples = [sample for sample in metric.samples if self._shows(sample)]
            yield metric

    def _shows(self, sample: Sample) -> bool:
        worker_id = sample.labels.get("worker_id")
        return not sample.name.endswith("_created") and (worker_id is None or worker_id in self._worker_ids)


def _gauge(name: str, text: str, registry: CollectorRegistry, labels: Sequence[str] = ()) -> Gauge:
    return Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
