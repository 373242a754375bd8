"""One target under atheris: `python -m tests.fuzz.guided TARGET CORPUS FINDINGS [libFuzzer's options]`.

A finding does not end the run: it is kept once a place, beside its traceback, and fuzzing goes on behind it.
What hangs or eats all memory does end it; libFuzzer says so and keeps the input.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_INSTRUMENTED = [
    *("rolltrace", "rolltrace_proxy", "rolltrace_store", "rolltrace_control", "rolltrace_settings"),
    *("rolltrace_client", "yaml"),
]


class Findings:
    """Runs a target and keeps what it raises, one input for each place that raises."""

    def __init__(self, run: Callable[[bytes], None], name: str, folder: Path) -> None:
        self._run, self._name, self._folder = run, name, folder
        self._seen: Counter[str] = Counter()

    def __call__(self, data: bytes) -> None:
        try:
            self._run(data)
        except Exception as error:
            self._keep(data, error)

    def _keep(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if ".venv" not in f.filename][-1:]
        place = f"{type(error).__name__} at {''.join(where)}"
        self._seen[place] += 1
        if self._seen[place] > 1:
            return
        file = self._folder / f"{self._name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
        if not file.exists():
            file.write_bytes(data)
            file.with_suffix(".txt").write_text("".join(traceback.format_exception(error))[-8000:])
        print(f"FINDING {self._name}: {place}: {file}", file=sys.stderr, flush=True)


def main(name: str, corpus: Path, findings: Path, options: list[str]) -> None:
    # Not in the environment that the checkers look at.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=_INSTRUMENTED):
        target = importlib.import_module("tests.fuzz.targets").ALL[name]
        mutated = importlib.import_module("tests.fuzz.mutate").mutated

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        choose = random.Random(seed)
        if choose.random() < 0.6:
            return bytes(atheris.Mutate(data, max_size))
        edits = [tuple(choose.randrange(1 << 16) for _ in range(3)) for _ in range(choose.randint(1, 3))]
        return bytes(mutated(data, edits))[:max_size]

    for place, seed in enumerate(target.seeds()):
        (corpus / f"seed-{place}").write_bytes(seed)
    for case in target.cases():
        (corpus / f"case-{case.name}").write_bytes(case.read_bytes())
    arguments = [sys.argv[0], str(corpus), f"-artifact_prefix={findings}/{name}-", *options]
    atheris.Setup(arguments, Findings(target.run, name, findings), custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
