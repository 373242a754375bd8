from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.routing import LOAD_FLOOR, Candidate, bound, nobody, order

_IDS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
_SESSIONS = [f"session-{n}" for n in range(2000)]


def workers(*ids: str) -> list[Candidate]:
    return [Candidate(worker_id) for worker_id in ids]


@settings(deadline=None)
@given(_IDS, st.text(max_size=8), st.randoms())
def test_every_proxy_finds_the_same_order(ids: list[str], session_id: str, random: object) -> None:
    shuffled = workers(*ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object
    session_id = session_id or "s"
    assert order(workers(*ids), "", session_id, "c1") == order(shuffled, "", session_id, "c2")


@settings(deadline=None)
@given(_IDS, st.integers(0, 5))
def test_a_worker_that_goes_moves_only_its_own_sessions(ids: list[str], gone: int) -> None:
    all_workers = workers(*ids)
    left = [w for n, w in enumerate(all_workers) if n != gone % len(ids)]
    for session_id in _SESSIONS[:50]:
        before = order(all_workers, "", session_id, "c")
        assert order(left, "", session_id, "c") == [w for w in before if w != ids[gone % len(ids)]]


def test_sessions_spread_as_the_weights_say() -> None:
    fleet = [Candidate("a", weight=1), Candidate("b", weight=2), Candidate("c", weight=5)]
    firsts = Counter(order(fleet, "", session_id, "c")[0] for session_id in _SESSIONS)
    assert abs(firsts["a"] - 250) < 60
    assert abs(firsts["b"] - 500) < 80
    assert abs(firsts["c"] - 1250) < 100


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=6), st.text(min_size=1, max_size=8))
def test_the_load_bound_holds(loads: list[int], session_id: str) -> None:
    fleet = [Candidate(f"w{n}", in_flight=load) for n, load in enumerate(loads)]
    first = order(fleet, "", session_id, "c")[0]
    load = next(w.in_flight for w in fleet if w.worker_id == first)
    assert load + 1 <= bound(sum(loads), 1 / len(loads))


def test_a_full_worker_is_passed_over_for_the_next_in_the_sessions_order() -> None:
    fleet = workers("a", "b", "c")
    usual = order(fleet, "", "s", "c")
    full = [replace(w, in_flight=LOAD_FLOOR if w.worker_id == usual[0] else 0) for w in fleet]
    assert order(full, "", "s", "c") == [usual[1], usual[2], usual[0]]


def test_light_load_never_moves_a_session() -> None:
    fleet = [Candidate(f"w{n}") for n in range(8)]
    usual = order(fleet, "", "s", "c")
    busy = [replace(w, in_flight=LOAD_FLOOR - 1 if w.worker_id == usual[0] else 0) for w in fleet]
    assert order(busy, "", "s", "c") == usual


def test_only_workers_that_serve_the_model() -> None:
    fleet = [Candidate("a", frozenset({"m"})), Candidate("b", frozenset({"n"})), Candidate("any")]
    assert set(order(fleet, "m", "s", "c")) == {"a", "any"}
    assert set(order(fleet, "", "s", "c")) == {"a", "b", "any"}
    assert order(fleet[:2], "x", "s", "c") == []
    assert "'x'" in nobody(fleet[:2], "x")
    assert "m, n" in nobody(fleet[:2], "x")


def test_cordoned_come_after_usable_and_dead_ones_last() -> None:
    fleet = [
        Candidate("dead", usable=False),
        Candidate("dead-cordoned", usable=False, cordoned=True),
        Candidate("cordoned", cordoned=True),
        Candidate("good"),
    ]
    assert order(fleet, "", "s", "c") == ["good", "cordoned", "dead", "dead-cordoned"]


def test_without_a_session_the_least_loaded_comes_first() -> None:
    fleet = [Candidate("a", in_flight=3), Candidate("b", in_flight=4, weight=2), Candidate("c", in_flight=9)]
    assert order(fleet, "", "", "call") == ["b", "a", "c"]


def test_ties_do_not_all_go_to_one() -> None:
    fleet = workers("a", "b")
    assert {order(fleet, "", "", f"call-{n}")[0] for n in range(20)} == {"a", "b"}
