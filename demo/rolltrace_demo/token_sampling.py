"""How one token is drawn, and which log-probability it is reported with.

As in vLLM (`logprobs_mode` is `raw_logprobs` by default): the log-probabilities are those of the
model itself, before temperature and top_p, but after the mask of a forced tool call, which vLLM
lays over the logits before anything else. At temperature 1 and top_p 1 they are those of the draw.
"""

import math
import random
from dataclasses import dataclass

from rolltrace_demo.ngram_model import Distribution


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a request asks of the sampler. `top` is how many of the likeliest ids to report."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    top: int = 0

    def generator(self, choice: int) -> random.Random:
        """The randomness of one of the n choices: the same for the same seed, in any process."""
        return random.Random() if self.seed is None else random.Random(f"{self.seed}/{choice}")


def draw(distribution: Distribution, sampling: Sampling, generator: random.Random) -> int:
    """One id, by temperature and top_p; temperature 0 takes the likeliest, of equals the lowest."""
    ranked = _ranked(distribution)
    if sampling.temperature == 0.0:
        return ranked[0][0]
    likeliest = ranked[0][1]
    weights = [(t, (p / likeliest) ** (1.0 / sampling.temperature)) for t, p in ranked]
    return _pick(_nucleus(weights, sampling.top_p), generator.random())


def reported(distribution: Distribution, drawn: int, top: int) -> list[tuple[int, float]]:
    """Ids with log-probabilities: the drawn one first, then the `top` likeliest, as vLLM does.

    The drawn one counts among the `top` where it is one of them.
    """
    likeliest = [(t, p) for t, p in _ranked(distribution)[:top] if t != drawn]
    return [(t, math.log(p)) for t, p in [(drawn, distribution[drawn]), *likeliest]]


def _ranked(distribution: Distribution) -> list[tuple[int, float]]:
    return sorted(((t, p) for t, p in distribution.items() if p > 0.0), key=lambda e: (-e[1], e[0]))


def _nucleus(weights: list[tuple[int, float]], top_p: float) -> list[tuple[int, float]]:
    wanted = top_p * sum(weight for _, weight in weights)
    reached = 0.0
    for count, (_, weight) in enumerate(weights, 1):
        reached += weight
        if reached >= wanted:
            return weights[:count]
    return weights


def _pick(weights: list[tuple[int, float]], point: float) -> int:
    left = point * sum(weight for _, weight in weights)
    for token_id, weight in weights:
        left -= weight
        if left < 0.0:
            return token_id
    return weights[-1][0]
