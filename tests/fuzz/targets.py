"""All targets, each with its seeds. A target is a function of bytes: it raises only for what must not be.

Any exception is a finding. What code under test may raise is declared where it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import (
    access,
    answers,
    configuration,
    contract,
    decisions,
    dialects,
    edge,
    records,
    requests,
    seeds,
    workers,
)

CASES = Path(__file__).parent / "cases"
"""A folder a target: inputs that once were findings."""


@dataclass(frozen=True, slots=True)
class Target:
    """`weight` is its share of the time of `make fuzz`."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    weight: float = 1.0

    def cases(self) -> list[Path]:
        return sorted((CASES / self.name).glob("*"))

    @property
    def name(self) -> str:
        return self.run.__name__


ALL: dict[str, Target] = {
    target.name: target
    for target in (
        Target(answers.sse_framing, seeds.frames, 2),
        Target(answers.stream_answer, seeds.streams, 4),
        Target(answers.whole_answer, seeds.wholes, 3),
        Target(requests.request_body, seeds.request_bodies, 3),
        Target(dialects.translated_request, dialects.request_seeds, 2),
        Target(dialects.translated_answer, dialects.answer_seeds, 3),
        Target(requests.mended_json, seeds.json_bodies),
        Target(requests.request_target, seeds.request_targets, 2),
        Target(requests.header_fields, seeds.header_fields),
        Target(edge.http_edge, edge.seeds, 4),
        Target(workers.worker_answer, workers.seeds, 3),
        Target(access.session_keys, seeds.keys),
        Target(access.header_keys, seeds.keyed_fields),
        Target(access.retries, seeds.repeats, 2),
        Target(decisions.breaker, seeds.steps, 0.5),
        Target(decisions.routing_order, seeds.workers, 0.5),
        Target(decisions.call_life, seeds.steps, 0.5),
        Target(records.record_codec, seeds.codecs, 2),
        Target(records.trace_delta, seeds.two_traces, 2),
        Target(records.trace_history, seeds.two_traces, 2),
        Target(records.expansion, seeds.compact_traces, 2),
        Target(records.proxy_report, seeds.reports, 0.5),
        Target(configuration.yaml_file, seeds.yaml_files, 3),
        Target(configuration.environment, seeds.environments, 1.5),
        Target(configuration.flags, seeds.command_lines),
        Target(contract.page_token, seeds.pages, 0.5),
        Target(contract.cursor, seeds.subscriptions),
        Target(contract.error_details, seeds.details),
        Target(contract.names_of_things, seeds.names),
    )
}
