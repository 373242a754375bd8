"""The model's distributions, and what is drawn and reported of them."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_demo.byte_tokens import IM_END, IM_START, VOCABULARY_SIZE, encode
from rolltrace_demo.demo_model import demo_model
from rolltrace_demo.ngram_model import NgramModel, narrowed
from rolltrace_demo.token_sampling import Sampling, draw, reported

COIN = {10: 0.5, 20: 0.3, 30: 0.2}
IDS = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=12)


@settings(max_examples=50)
@given(IDS)
def test_every_distribution_sums_to_one(context: list[int]) -> None:
    distribution = demo_model().distribution(context)
    assert math.fsum(distribution.values()) == pytest.approx(1.0)
    assert min(distribution.values()) > 0.0
    assert IM_START not in distribution


def test_the_model_learns_counts_and_backs_off() -> None:
    model = NgramModel(encode("abababac"), order=2)
    after_a = model.distribution(encode("a"))
    assert after_a[ord("b")] > after_a[ord("c")] > after_a[ord("a")] > 0.0
    assert model.distribution(encode("zz")) == model.distribution(())


def test_interpolation_is_witten_and_bells() -> None:
    """After a: b three times, c once. Two kinds among four leave a third to the counts of all."""
    after_a = NgramModel(encode("abababac"), order=1).distribution(encode("a"))
    expected = {"a": 4 / 8 / 3, "b": 3 / 6 + 3 / 8 / 3, "c": 1 / 6 + 1 / 8 / 3}
    assert after_a == pytest.approx({ord(letter): p for letter, p in expected.items()})


def test_a_character_is_finished_before_anything_else() -> None:
    lead = demo_model().distribution([*encode("21 "), 0xC2])
    assert all(0x80 <= token_id < 0xC0 for token_id in lead)
    assert not any(0x80 <= token_id < 0xC0 for token_id in demo_model().distribution(()))


def test_a_text_whose_characters_the_rule_does_not_cover_is_refused() -> None:
    with pytest.raises(ValueError, match="lead bytes"):
        NgramModel(encode("🙂"))


def test_frequencies_follow_the_distribution() -> None:
    generator = random.Random(1)
    drawn = Counter(draw(COIN, Sampling(1), generator) for _ in range(4000))
    for token_id, probability in COIN.items():
        assert drawn[token_id] / 4000 == pytest.approx(probability, abs=0.04)


def test_temperature_sharpens_and_zero_is_greedy() -> None:
    generator = random.Random(1)
    sharp = Counter(draw(COIN, Sampling(1, temperature=0.5), generator) for _ in range(4000))
    assert sharp[10] / 4000 == pytest.approx(0.25 / 0.38, abs=0.04)
    assert {draw(COIN, Sampling(1, temperature=0.0), generator) for _ in range(50)} == {10}
    assert draw({7: 0.5, 3: 0.5}, Sampling(1, temperature=0.0), generator) == 3


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    generator = random.Random(1)
    kept = {draw(COIN, Sampling(1, top_p=0.6), generator) for _ in range(300)}
    assert kept == {10, 20}


def test_log_probabilities_are_the_models_before_temperature() -> None:
    assert reported(COIN, 30, 0) == [(30, math.log(0.2))]
    assert [t for t, _ in reported(COIN, 30, 2)] == [30, 10, 20]
    assert [t for t, _ in reported(COIN, 10, 2)] == [10, 20]


def test_a_mask_renormalises_and_a_single_id_is_certain() -> None:
    assert narrowed(COIN, {20, 30}) == pytest.approx({20: 0.6, 30: 0.4})
    assert reported(narrowed(COIN, {20}), 20, 0) == [(20, 0.0)]
    assert narrowed(COIN, {98, 99}) == {98: 0.5, 99: 0.5}


def test_turns_end() -> None:
    turn = encode("You are welcome.")
    distribution = demo_model().distribution(turn)
    assert max(distribution, key=lambda token_id: distribution[token_id]) == IM_END
