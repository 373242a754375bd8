"""The soak's verdicts can be bad: what grows is told from what does not."""

from __future__ import annotations

import pytest
from bench.soak import verdicts
from bench.soak.sampler import MIB, Process, Sample

LONG = 60 * verdicts.LEAST_MINUTES


def samples(*, leak: float = 0.0, files: float = 0.0, seconds: float = LONG) -> list[Sample]:
    """A proxy of 100 MiB that grows by so many bytes and files a second; it is another one at first."""

    def proxy(at: float) -> Process:
        own = int(100 * MIB + leak * at)
        return Process(2 if at > seconds / 2 else 1, own, own, int(50 + files * at))

    return [Sample(at, {"proxy": proxy(at)}, 0, 0, 0, None) for at in range(0, int(seconds) + 1, 10)]


@pytest.mark.parametrize(("grown", "good"), [(0, True), (9, True), (12, False), (-50, True)])
def test_memory_is_flat_or_not(grown: int, good: bool) -> None:
    (verdict,) = verdicts.memory(samples(leak=grown * MIB / (LONG / 2)), LONG)
    assert verdict.good is good


@pytest.mark.parametrize(("grown", "good"), [(0, True), (7, True), (20, False)])
def test_open_files_are_flat_or_not(grown: int, good: bool) -> None:
    (verdict,) = verdicts.files(samples(files=grown / (LONG / 2)), LONG)
    assert verdict.good is good


def test_a_short_soak_does_not_judge_growth() -> None:
    (verdict,) = verdicts.memory(samples(leak=MIB, seconds=60), 60)
    assert verdict.good is None


@pytest.mark.parametrize(("end", "good"), [((200, 20), True), ((260, 20), False), ((0, 0), True)])
def test_growth_is_for_each_token(end: tuple[int, int], good: bool) -> None:
    assert verdicts.growth((100, 10), end, LONG).good is good


def test_anything_broken_is_shown() -> None:
    verdict = verdicts.nothing("sessions are complete", ["s-1: Once: two traces"], "2 checked")
    assert verdict.good is False
    assert "s-1: Once" in str(verdict)
