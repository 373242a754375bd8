"""What is not as with rllm-model-gateway 0.1.0, and why: the whole list, which `make test-rllm` holds.

A difference that the suite sees and that is not listed fails it; so does one that is listed and not seen.
`where` are patterns of a step and of what differs in its answer; the steps are those of client/walk.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.rllm.compare import ABSENT, Json, Place

Holds = Callable[[Json, Json], bool]


@dataclass(frozen=True, slots=True)
class Difference:
    """`theirs` and `ours`: what the two gateways do. `holds`: whether two values differ in no other way."""

    where: tuple[str, ...]
    theirs: str
    ours: str
    why: str
    holds: Holds = lambda theirs, ours: True

    def covers(self, place: Place) -> bool:
        return any(self.matches(place, pattern) for pattern in self.where)

    def matches(self, place: Place, pattern: str) -> bool:
        return fnmatchcase(place.where, pattern) and self.holds(place.theirs, place.ours)


def _is_more(theirs: Json, ours: Json) -> bool:
    return theirs == ABSENT


def _is_less(theirs: Json, ours: Json) -> bool:
    return ours == ABSENT or ours is None


def _is_close(theirs: Json, ours: Json) -> bool:
    return isinstance(theirs, float) and isinstance(ours, float) and math.isclose(theirs, ours, rel_tol=1e-6)


def _is_refused(theirs: Json, ours: Json) -> bool:
    """An error in rLLM's own shape, of bad input."""
    if not isinstance(ours, dict):
        return False
    body = ours["body"]
    return ours["status"] in (400, 422) and isinstance(body, dict) and list(body) == ["error"]


def _are_texts(theirs: Json, ours: Json) -> bool:
    return isinstance(theirs, str) and isinstance(ours, str)


DIFFERENCES = (
    # Sessions.
    Difference(
        ("*create_session, without an id: returned",),
        "an id that is made is a UUID",
        "32 hexadecimal digits",
        "both have 122 random bits or more; nobody reads them",
        _are_texts,
    ),
    Difference(
        (
            "*get_session_info, *: returned.state",
            "*get_session_info, *: returned.failed_count",
            "*get_session_info, *: returned.incomplete",
            "*list_sessions, *: returned.each.state",
            "*list_sessions, *: returned.each.failed_count",
            "*list_sessions, *: returned.each.incomplete",
        ),
        "a session has four members",
        "and whether it takes calls, how many failed, whether something is missing",
        "a trainer can tell whether it has everything",
        _is_more,
    ),
    Difference(
        ("*get_session_info, with a slash in the id: outcome",),
        "a session whose id has a slash is not found by it (404)",
        "it is",
        "task names have slashes; later versions of rLLM's gateway find them too",
    ),
    Difference(
        ("*create_session, with metadata that is a text: outcome",),
        "metadata that is no object is taken, and then the session cannot be read (500)",
        "400",
        "the error comes where its cause is",
        _is_refused,
    ),
    Difference(
        ("*get_session_info, of one whose metadata was a text: *",),
        "500, as above",
        "404: there is no such session",
        "it was not made",
    ),
    Difference(
        ("*list_sessions, all: returned", "*list_sessions, with a limit: returned.each"),
        "sessions without calls are not listed",
        "they are, with a trace_count of 0",
        "a session that was made exists",
    ),
    Difference(
        ("*a late call of a deleted session: *", "*get_session_info, made again: returned.trace_count"),
        "a call after a deletion brings the session back, with traces of before and after it was made again",
        "410, until somebody makes the session again",
        "a straggler of one rollout must not end up in the next",
    ),
    # Traces.
    Difference(
        ("*.logprobs.each",),
        "log-probabilities with the digits that the worker sent",
        "as 32-bit floats, which is what engines compute them in",
        "a quarter of the bytes; equal to seven digits",
        _is_close,
    ),
    Difference(
        ("*.raw_request.logprobs", "*.raw_request.extra_body", "*.raw_request.return_token_ids"),
        "raw_request is what the gateway made of the request",
        "what the agent sent, byte for byte",
        "what the gateway adds is the same for every call and says nothing of the agent",
        _is_less,
    ),
    Difference(
        (
            "*.raw_response.choices.each.logprobs",
            "*.raw_response.choices.each.token_ids",
            "*.raw_response.prompt_token_ids",
        ),
        "raw_response is what the worker sent, every id and log-probability a second time",
        "what the agent got; they stand in prompt_token_ids, completion_token_ids and logprobs",
        "a session's traces grow with what is new in them",
        _is_less,
    ),
    Difference(
        ("*of the call *streamed*: returned.raw_response",),
        "raw_response is null for a stream",
        "the object that its chunks add up to",
        "a stream is recorded as completely as a whole answer",
        lambda theirs, ours: theirs is None and isinstance(ours, dict),
    ),
    Difference(
        ("*of the call *streamed*: returned.token_counts.*",),
        "a stream without usage has no token_counts",
        "its ids are counted",
        "they are all there",
        _is_more,
    ),
    Difference(
        (
            "*of the call with a tool, streamed: returned.response_message.tool_calls",
            "*of the call with a tool, streamed: returned.response_message.content",
        ),
        "the tool calls of a stream are the list of their fragments, and empty content is left out",
        "merged, as the agent's SDK merges them",
        "so that the message can be read, and sent again",
    ),
    Difference(
        ("*of the call that the worker refuses: returned.metadata.*",),
        "a failed call looks like one that sampled nothing",
        "metadata says its status and its error",
        "nothing may be taken for data that is none",
        _is_more,
    ),
    Difference(
        ("*agent's call of completions: *", "*of the call of completions: *"),
        "the completions endpoint is asked for `logprobs: true`, which workers refuse",
        "it works, and its ids and log-probabilities are recorded",
        "agents use it",
    ),
    Difference(
        (
            "*/traces/query, of the call whole: returned.each.weight_version",
            "*/traces/query, of the call whole: returned.each.policy_version",
            "*/traces/query, of the call whole: returned.each.status",
            "*/traces/query, of the call whole: returned.each.http_status",
            "*/traces/query, of the call whole: returned.each.call_index",
            "*/traces/query, of the call whole: returned.each.parent_trace_id",
            "*/traces/query, of the call whole: returned.each.endpoint",
            "*/traces/query, of the call whole: returned.each.streamed",
            "*/traces/query, of the call whole: returned.each.worker_id",
        ),
        "a trace has the members of TraceRecord",
        "and more, which TraceRecord's reader ignores; weight_version is a later version's",
        "they are known",
        _is_more,
    ),
    # Bad input.
    Difference(
        ("*that is none: body.detail", "*that is none: body.error"),
        'a bad `since` or `limit` is a 422 with {"detail": [...]}',
        'a 422 with {"error": "..."}',
        "one shape for all errors",
    ),
    Difference(
        ("*get_session_traces, with a negative limit: outcome",),
        "a negative limit is none",
        "422",
        "nobody means it",
        _is_refused,
    ),
    Difference(
        ("*/traces/query, a text: outcome",),
        "session_ids that are a text are taken for one id a letter",
        "400",
        "nobody means it",
        _is_refused,
    ),
    Difference(
        ("*POST /sessions, that is no JSON: outcome", "*POST /sessions, with an id that is none: outcome"),
        "a body that cannot be read is taken for an empty one, and an id of any type for an id",
        "400",
        "a session that nobody asked for would be made",
        _is_refused,
    ),
    Difference(
        ("*POST /sessions, that is a list: *", "*add_worker, with a weight that is none: *"),
        "500",
        "400, and what is wrong",
        "the mistake is the caller's, who should hear of it",
    ),
    Difference(
        ("*PUT /sessions, which takes another method: body.*", "*GET /nothing, which is not there: body.*"),
        '{"detail": "Not Found"}, {"detail": "Method Not Allowed"}',
        'an "error", of the OpenAI API\'s shape where the path is none of these',
        "agents' SDKs show it",
    ),
    # Workers, and the gateway.
    Difference(
        (
            "*add_worker, that is new: returned",
            "*: returned.each.worker_id",
            "*GET /health/workers, *: returned.workers.each.worker_id",
            "*remove_worker, that is unknown: body.error",
        ),
        "a worker's id is its number in the configuration, or a UUID",
        "its host and port, unless an id is given",
        "it is the same after a restart, and in every process",
        _are_texts,
    ),
    Difference(
        (
            "*add_worker, with a negative weight: outcome",
            "*add_worker, that is no url: outcome",
            "*list_workers, after bad ones: returned",
        ),
        "a worker that can never work is registered",
        "400",
        "calls would be sent to it",
    ),
    Difference(
        (
            "*health, of the gateway: returned.calls_in_flight",
            "*health, of the gateway: returned.workers",
            "*health, of the gateway: returned.healthy_workers",
            "*/health/workers, of the workers: returned.workers.each.state",
            "*/health/workers, of the workers: returned.workers.each.health",
            "*/health/workers, of the workers: returned.workers.each.health_message",
            "*/health/workers, of the workers: returned.workers.each.usable",
            "*/health/workers, of the workers: returned.workers.each.calls_in_flight",
        ),
        "health says ok",
        "and what it rests on; without a usable worker /health/workers is a 503",
        "load balancers look at the status",
        _is_more,
    ),
    Difference(
        ("*/admin/reload, what there is to read: returned.reloaded",),
        "a reload does nothing",
        "it reads the admin tokens and the certificate again",
        "it has a meaning here",
        _is_more,
    ),
)
