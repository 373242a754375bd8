"""A byte n-gram model with Witten-Bell interpolation: small, honest, and trained in a blink.

Rules:
- A distribution is a mapping of token id to probability that sums to 1. What is not in it has
  none.
- `<|im_start|>` is context, never a prediction: a turn ends at `<|im_end|>`.
- What it writes is valid UTF-8: bytes that continue a character follow an unfinished one and
  nothing else does. Two classes are enough while any continuation is right after each lead byte of
  the training text; training on another lead is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

from rolltrace_demo.byte_tokens import IM_START, open_character

Distribution = Mapping[int, float]

_FREE_LEADS = frozenset({*range(0xC2, 0xE0), *range(0xE1, 0xED), 0xEE, 0xEF})
_CONTINUATIONS = frozenset(range(0x80, 0xC0))


class NgramModel:
    """Learns from one sequence of ids; `order` is how many ids of context it looks at, at most."""

    def __init__(self, ids: Sequence[int], order: int = 10) -> None:
        strange = {t for t in ids if 0xC0 <= t < 0x100} - _FREE_LEADS
        if strange:
            raise ValueError(f"training text has UTF-8 lead bytes that are not supported: {strange}")
        self.order = order
        self._followers = _count_followers(ids, order)
        self._cached = lru_cache(maxsize=8192)(self._distribution)

    def distribution(self, context: Sequence[int]) -> Distribution:
        """The probabilities of the id after `context`, of which the last `order` ids matter."""
        return self._cached(tuple(context[-self.order :]))

    def _distribution(self, context: tuple[int, ...]) -> Distribution:
        probabilities: dict[int, float] = {}
        for followers in self._known_followers(context):
            count, kinds = sum(followers.values()), len(followers)
            kept = kinds / (count + kinds) if probabilities else 0.0
            weight = (1.0 - kept) / count
            probabilities = {t: p * kept for t, p in probabilities.items()}
            for token_id, seen in followers.items():
                probabilities[token_id] = probabilities.get(token_id, 0.0) + seen * weight
        inside = bool(open_character(context))
        return narrowed(probabilities, _CONTINUATIONS if inside else probabilities.keys() - _CONTINUATIONS)

    def _known_followers(self, context: tuple[int, ...]) -> Iterator[dict[int, int]]:
        for length in range(len(context) + 1):
            followers = self._followers.get(context[len(context) - length :])
            if followers is None:
                return
            yield followers


def _count_followers(ids: Sequence[int], order: int) -> dict[tuple[int, ...], dict[int, int]]:
    counts: dict[tuple[int, ...], dict[int, int]] = {}
    for position, token_id in enumerate(ids):
        if token_id == IM_START:
            continue
        for length in range(min(order, position) + 1):
            followers = counts.setdefault(tuple(ids[position - length : position]), {})
            followers[token_id] = followers.get(token_id, 0) + 1
    return counts


def narrowed(distribution: Distribution, allowed: AbstractSet[int]) -> Distribution:
    """The distribution given that the next id is one of `allowed`; uniform if none had a chance."""
    kept = {t: distribution[t] for t in sorted(allowed) if t in distribution}
    total = sum(kept.values())
    if total <= 0.0:
        return dict.fromkeys(sorted(allowed), 1.0 / len(allowed))
    return {t: p / total for t, p in kept.items()}
