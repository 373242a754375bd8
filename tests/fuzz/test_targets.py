"""Every target holds for its seeds, for what once was a finding, and for what hypothesis makes of both."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import edge
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import ALL, CASES, Target

FAST = [target for target in ALL.values() if target.run is not edge.http_edge]
FOUND = [(target, case) for target in ALL.values() for case in target.cases()]
EDITS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 1 << 14), st.integers(0, 255)), min_size=1, max_size=4
)


@pytest.fixture(autouse=True, scope="module")
def _close_the_edge() -> Generator[None, None, None]:
    yield
    if edge.running.cache_info().currsize:
        edge.running().close()
        edge.running.cache_clear()


def named(target: Target) -> str:
    return target.name


@pytest.mark.parametrize("target", ALL.values(), ids=named)
def test_every_seed_is_good(target: Target) -> None:
    for seed in target.seeds():
        target.run(seed)
    target.run(b"")


@pytest.mark.parametrize(("target", "case"), FOUND, ids=[f"{t.name}-{case.name}" for t, case in FOUND])
def test_what_was_found_stays_mended(target: Target, case: Path) -> None:
    target.run(case.read_bytes())


def test_every_case_is_of_a_target() -> None:
    assert {folder.name for folder in CASES.iterdir() if folder.is_dir()} <= ALL.keys()


@pytest.mark.parametrize("target", FAST, ids=named)
def test_nothing_made_of_a_seed_is_a_finding(target: Target) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(target.seeds()), EDITS)
    def check(seed: bytes, edits: list[tuple[int, int, int]]) -> None:
        target.run(mutated(seed, edits))

    check()


@pytest.mark.parametrize("target", FAST, ids=named)
def test_no_bytes_are_a_finding(target: Target) -> None:
    settings(max_examples=30, deadline=None)(given(st.binary(max_size=200))(target.run))()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(edge.seeds()), EDITS)
def test_no_bytes_on_a_socket_are_a_finding(seed: bytes, edits: list[tuple[int, int, int]]) -> None:
    edge.http_edge(mutated(seed, edits))
