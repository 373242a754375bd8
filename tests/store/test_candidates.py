"""What is passed over could not have mattered: a search finds what comparing everything finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_store import delta
from rolltrace_store.candidates import Leaf, Search, Turn
from rolltrace_store.delta import Pieces
from tests.store.sessions import Agent, ids

_ids = st.lists(st.integers(0, 1), max_size=4).map(lambda numbers: ids(*numbers) * 12)
_request = st.lists(st.sampled_from([b"a", b"b"]), max_size=4).map(lambda parts: b"".join(parts) * 40)


@st.composite
def pieces(draw: st.DrawFn, name: str) -> Pieces:
    return Pieces(name, draw(_ids), tuple(draw(st.lists(_ids, max_size=2))), draw(_request))


@st.composite
def turns(draw: st.DrawFn, before: int) -> Turn | None:
    """Ancestors with orders below `before`, the nearest last; each is longer than the one before."""
    turn, length = None, 0
    for order in sorted(draw(st.sets(st.integers(0, before), max_size=3))):
        length += draw(st.integers(1, 60))
        turn = Turn(order, f"turn {order}", length, turn)
    return turn


@st.composite
def leaves(draw: st.DrawFn) -> list[Leaf]:
    orders = draw(st.permutations(range(10, 10 + draw(st.integers(0, 5)))))
    return [
        Leaf.of(
            draw(pieces(f"leaf {order}")),
            order,
            draw(st.sampled_from([0, 0, 100, 200])),
            draw(st.none() | turns(order - 1)),
        )
        for order in orders
    ]


def _parent(candidates: list[Leaf], new: Pieces) -> Turn | None:
    found: Turn | None = None
    for leaf in candidates:
        match = delta.match(leaf.pieces, new)
        turn = leaf.parent
        if match.context:
            turn = Turn(leaf.order, leaf.pieces.trace_id, match.context, leaf.parent)
        while turn and turn.length > match.prompt:
            turn = turn.parent
        if turn and (found is None or turn.order > found.order):
            found = turn
    return found


def _base(candidates: list[Leaf], new: Pieces) -> Leaf | None:
    ranked = [
        (delta.match(leaf.pieces, new).saved, -leaf.chain_bytes, place)
        for place, leaf in enumerate(candidates)
    ]
    best = max(ranked, default=(0, 0, 0))
    return candidates[best[2]] if best[0] >= delta.MIN_SAVED else None


def _superfluous(candidates: list[Leaf], new: Pieces, parent: Turn | None) -> list[str]:
    names: list[str] = []
    for leaf in candidates:
        match, old = delta.match(leaf.pieces, new), leaf.pieces
        if old.prompt or any(old.sampled):
            goes = parent is not None and parent.trace_id == old.trace_id and len(old.sampled) <= 1
        else:
            goes = match.request_prefix + match.request_suffix == len(old.request)
        names += [old.trace_id] if goes else []
    return names


@settings(max_examples=150)
@given(leaves(), pieces("new"))
def test_a_search_finds_what_comparing_everything_finds(candidates: list[Leaf], new: Pieces) -> None:
    search = Search(candidates, new)
    parent, base = search.parent(), search.base()
    assert parent == _parent(candidates, new)
    assert (base and base[0]) == _base(candidates, new)
    if base:
        assert base[1] == delta.match(base[0].pieces, new)
    assert set(search.superfluous(parent)) == set(_superfluous(candidates, new, parent))


def _compared(candidates: list[Leaf], new: Pieces, monkeypatch: pytest.MonkeyPatch) -> int:
    compared: list[str] = []
    plain = delta.match

    def match(base: Pieces, other: Pieces) -> delta.Match:
        compared.append(base.trace_id)
        return plain(base, other)

    with monkeypatch.context() as patch:
        patch.setattr(delta, "match", match)
        search = Search(candidates, new)
        parent = search.parent()
        search.base()
        search.superfluous(parent)
    return len(compared)


def test_the_next_turn_compares_one_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside sub-agents that are not as far."""
    agent, others = Agent(0), [Agent(seed) for seed in range(1, 8)]
    *_, last = (agent.turn() for _ in range(3))
    made = [Pieces.of(trace) for trace in (last, *(other.turn() for other in others))]
    candidates = [Leaf.of(one, order, 0, None) for order, one in enumerate(made)]
    assert (
        _compared(candidates, Pieces.of(agent.turn()), monkeypatch) == 8
    )  # each is later, so may be the parent
    candidates = [Leaf.of(one, order, 0, None) for order, one in enumerate(reversed(made))]
    assert _compared(candidates, Pieces.of(agent.turn()), monkeypatch) == 1


def test_a_repeat_compares_one_history(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Pieces.of(Agent(1).turn())
    candidates = [Leaf.of(new._replace(trace_id=str(order)), order, order, None) for order in range(8)]
    assert _compared(candidates, new._replace(trace_id="new"), monkeypatch) == 1


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([0, 100]), st.sampled_from([b"", b"more"])), max_size=6))
def test_of_candidates_that_share_all_there_is_the_last_with_the_shortest_chain_is_the_base(
    drawn: list[tuple[int, bytes]],
) -> None:
    """Whether they have more than what is shared or not; those that have another beginning share less."""
    prompt, request = ids(*range(40)), b"request" * 20
    new = Pieces("new", prompt, (ids(7),), request)
    pool = [
        Pieces(f"{order}", prompt + more, (), request + more)
        if order % 3
        else new._replace(prompt=bytes(200))
        for order, (_, more) in enumerate(drawn)
    ]
    candidates = [Leaf.of(one, order, drawn[order][0], None) for order, one in enumerate(pool)]
    base = Search(candidates, new).base()
    assert (base and base[0]) == _base(candidates, new)


def test_a_prompt_that_goes_back_continues_an_ancestor_of_a_longer_candidate() -> None:
    prompt = ids(*range(40))
    root = Turn(0, "root", 40, None)
    leaf = Leaf.of(Pieces("leaf", prompt, (ids(7),), b""), 1, 0, root)
    search = Search([leaf], Pieces("new", prompt[:80], (), b""))
    assert search.parent() == _parent([leaf], search.pieces) == root
