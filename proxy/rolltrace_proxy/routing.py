"""Which workers a call may go to, in the order in which they are tried.

Weighted rendezvous hashing: a session ranks the workers by a hash of both names, so that every proxy finds
the same order without asking anybody, and a worker that goes moves only its own sessions. A worker that
holds more than its share of the load is passed over for the next in the session's order (bounded load).
Pure functions over snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rolltrace_proxy.breaker import DELAY

LOAD_FACTOR = 1.25
"""How far above its fair share of the calls in flight a worker may be."""
LOAD_FLOOR = 8
"""A worker with fewer calls in flight than this is never passed over: losing its prefix cache costs more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker as routing sees it. `model_names` empty: every model. `usable`: healthy as far as known.
    `refusing`: it took none of our last connections, and no probe of it is due."""

    worker_id: str
    model_names: frozenset[str] = frozenset()
    weight: float = 1.0
    in_flight: int = 0
    usable: bool = True
    cordoned: bool = False
    refusing: bool = False


def order(workers: Sequence[Candidate], model: str, session_id: str, call_id: str) -> list[str]:
    """Ids of the workers that serve `model`, best first. Workers that drain MUST NOT be among `workers`.

    The usable come first, then the cordoned, then those that control takes for dead: out-of-date news costs
    a retry, never a refusal. What this proxy has found out itself is not out of date: a worker that refuses
    is left out until a probe is due. Without a session the least loaded come first; `call_id` breaks ties.
    """
    serving = [w for w in workers if _serves(w, model) and not w.refusing]
    if len(serving) == 1:
        return [serving[0].worker_id]
    tiers: dict[tuple[bool, bool], list[Candidate]] = {}
    for worker in serving:
        tiers.setdefault((not worker.usable, worker.cordoned), []).append(worker)
    rank = _by_session if session_id else _by_load
    key = session_id or call_id
    return [worker.worker_id for _, tier in sorted(tiers.items()) for worker in rank(tier, key)]


def nobody(workers: Sequence[Candidate], model: str) -> str:
    """Why `order` gave none, and what to do about it."""
    if not workers:
        return "There is no worker to send this call to. Add one: rolltrace workers add URL"
    if refusing := [w.worker_id for w in workers if _serves(w, model)]:
        names = ", ".join(sorted(refusing))
        return f"No worker takes a connection: {names}. They are tried again every {DELAY:g} s."
    known = ", ".join(sorted({name for w in workers for name in w.model_names}))
    return f"No worker serves the model {model!r}; served are: {known}. To add one: rolltrace workers add URL"


def _serves(worker: Candidate, model: str) -> bool:
    return not worker.model_names or not model or model in worker.model_names


def _by_session(tier: list[Candidate], session_id: str) -> list[Candidate]:
    ranked = sorted(tier, key=lambda w: _score(session_id, w), reverse=True)
    total, weight = sum(w.in_flight for w in tier), sum(w.weight for w in tier)
    return sorted(ranked, key=lambda w: w.in_flight >= bound(total, w.weight / weight))


def _by_load(tier: list[Candidate], call_id: str) -> list[Candidate]:
    return sorted(tier, key=lambda w: (w.in_flight / w.weight, -_score(call_id, w)))


def bound(total: int, share: float) -> int:
    """The calls that a worker with `share` of the weights may hold when one joins `total` in flight."""
    return max(LOAD_FLOOR, math.ceil(LOAD_FACTOR * (total + 1) * share))


def _score(key: str, worker: Candidate) -> float:
    """Greatest for each worker as often as its weight says: -w / ln(u), with u uniform in (0, 1)."""
    digest = blake2b(f"{key}\0{worker.worker_id}".encode(), digest_size=8).digest()
    uniform = ((int.from_bytes(digest) >> 12) + 0.5) / 2**52
    return -worker.weight / math.log(uniform)
