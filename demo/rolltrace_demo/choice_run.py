"""One choice of an answer, token by token, and several in the turns of an engine.

Rules, all of them vLLM's:
- The end-of-turn id and the ids of a matched stop string are part of the ids, not of the text.
- Text is held back while it may be the beginning of a stop string or of a character, so what has
  been shown is never taken back, and the pieces of a stream join to the text of a whole answer.
- An end of turn wins over a spent `max_tokens`; a character left unfinished is never shown.
- Choices draw from generators of their own: interleaving them changes nothing.
"""

import codecs
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rolltrace_demo.byte_tokens import HIDDEN, IM_END, shown_token, token_bytes
from rolltrace_demo.ngram_model import NgramModel, narrowed
from rolltrace_demo.token_sampling import Sampling, draw, reported
from rolltrace_demo.tool_grammar import Grammar

Candidate = tuple[str, float]


@dataclass(frozen=True, slots=True)
class Step:
    """One sampled id. `candidates` begin with it; `text` is what it adds to the answer."""

    token_id: int
    candidates: tuple[Candidate, ...]
    text: str
    finish_reason: str | None = None
    stop_reason: str | None = None

    @property
    def logprob(self) -> float:
        return self.candidates[0][1]


class ShownText:
    """Ids in, text out, as soon as it is certain."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._margin = max(map(len, stop), default=1) - 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def push(self, token_id: int) -> tuple[str, str | None]:
        """The text that is now certain, and the stop string that ended it, if one did."""
        if token_id not in HIDDEN:
            self._held += self._decoder.decode(token_bytes(token_id))
        found = [(at, stop) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            at, stop = min(found)
            return self._held[:at], stop
        certain = max(0, len(self._held) - self._margin)
        text, self._held = self._held[:certain], self._held[certain:]
        return text, None

    def rest(self) -> str:
        """What was held back and, at an end without a stop string, is text after all."""
        return self._held


def run_choice(
    model: NgramModel,
    prompt: Sequence[int],
    sampling: Sampling,
    choice: int,
    grammar: Grammar | None,
) -> Iterator[Step]:
    """The steps of one choice; the last one, and only that, has a finish reason."""
    generator = sampling.generator(choice)
    shown = ShownText(sampling.stop)
    context = list(prompt[-model.order :])
    allowed = next(grammar) if grammar else None
    for left in reversed(range(sampling.max_tokens)):
        distribution = model.distribution(context)
        if allowed is not None:
            distribution = narrowed(distribution, allowed)
        token_id = draw(distribution, sampling, generator)
        candidates = tuple(
            (shown_token(context, t), logprob)
            for t, logprob in reported(distribution, token_id, sampling.top)
        )
        text, stop = shown.push(token_id)
        finish = _finish(token_id, stop, left, sampling.ignore_eos)
        if finish and stop is None:
            text += shown.rest()
        yield Step(token_id, candidates, text, finish, stop)
        if finish:
            return
        context = [*context, token_id][-model.order :]
        allowed = _advance(grammar, token_id)


def _finish(token_id: int, stop: str | None, left: int, ignore_eos: bool) -> str | None:
    if stop is not None or (token_id == IM_END and not ignore_eos):
        return "stop"
    return None if left else "length"


def _advance(grammar: Grammar | None, token_id: int) -> AbstractSet[int] | None:
    if grammar is None:
        return None
    try:
        return grammar.send(token_id)
    except StopIteration:
        return None


def engine_turns(choices: Sequence[Iterator[Step]]) -> Iterator[dict[int, Step]]:
    """Turns of an engine: in each, every choice that still runs makes a step. Keys are choices."""
    running = dict(enumerate(choices))
    while running:
        turn = {index: step for index, run in running.items() if (step := next(run, None)) is not None}
        running = {index: running[index] for index, step in turn.items() if not step.finish_reason}
        if turn:
            yield turn


class ChunkPacer:
    """Gathers steps into chunks: the first alone, then `interval` at a time, the last at once."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._waiting: dict[int, list[Step]] = {}

    def push(self, choice: int, step: Step) -> list[Step]:
        """The steps to send now: none while more are to come."""
        first = choice not in self._waiting
        waiting = self._waiting.setdefault(choice, [])
        waiting.append(step)
        if not first and len(waiting) < self._interval and not step.finish_reason:
            return []
        self._waiting[choice] = []
        return waiting
