"""`make fuzz`: every target under atheris, one after the other, and a table of what came of it.

`python -m tests.fuzz MINUTES [TARGET ...]`. The corpus and the findings stay in `.fuzz/`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import ALL

FOLDER = Path(".fuzz")
_MAX_BYTES = 1 << 14
_SLOW = 20
"""Seconds that one input may take."""
_OPTIONS = (f"-max_len={_MAX_BYTES}", f"-timeout={_SLOW}", "-rss_limit_mb=3072", "-print_final_stats=1")


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    seconds: float
    executions: int
    coverage: int
    features: int
    findings: int
    """Different places that raised, and inputs that hung or ate all memory."""

    def row(self) -> str:
        figures = (self.executions, self.coverage, self.features, self.findings)
        cells = [self.name, f"{self.seconds:.0f}", *(f"{figure:,}" for figure in figures)]
        return "| " + " | ".join(cells) + " |"


def fuzz(name: str, seconds: float) -> Outcome:
    """Runs one target; begins again when an input ended the run before its time."""
    corpus, findings = FOLDER / "corpus" / name, FOLDER / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    begun, outcome = time.monotonic(), Outcome(name, 0, 0, 0, 0, 0)
    places: set[str] = set()
    while (left := seconds - (time.monotonic() - begun)) > 5:
        options = [*_OPTIONS, f"-max_total_time={left:.0f}"]
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), str(findings), *options]
        environ = {**os.environ, "ROLLTRACE_FUZZ_GOOD": "16"}
        done = subprocess.run(command, stderr=subprocess.PIPE, env=environ, check=False)
        said = done.stderr.decode(errors="replace")
        places |= set(re.findall(r"^FINDING .*$|^SUMMARY: libFuzzer.*$", said, re.MULTILINE))
        outcome = Outcome(
            name,
            time.monotonic() - begun,
            outcome.executions + _most(said, r"number_of_executed_units: (\d+)"),
            max(outcome.coverage, _most(said, r" cov: (\d+)")),
            max(outcome.features, _most(said, r" ft: (\d+)")),
            len(places),
        )
        if done.returncode:
            print(f"{name} ended with {done.returncode}\n{said[-3000:]}", flush=True)
            places.add(f"ended with {done.returncode}") if "SUMMARY: libFuzzer" not in said else None
    for place in sorted(places):
        print(place, flush=True)
    return outcome


def _most(text: str, pattern: str) -> int:
    return max(map(int, re.findall(pattern, text)), default=0)


def table(outcomes: Iterable[Outcome]) -> str:
    outcomes = list(outcomes)
    total = Outcome(
        "all",
        sum(each.seconds for each in outcomes),
        sum(each.executions for each in outcomes),
        sum(each.coverage for each in outcomes),
        sum(each.features for each in outcomes),
        sum(each.findings for each in outcomes),
    )
    head = "| target | seconds | executions | coverage | features | findings |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(each.row() for each in (*outcomes, total))])


def main(minutes: float, names: list[str]) -> int:
    chosen = [ALL[name] for name in names or ALL]
    share = 60 * minutes / sum(target.weight for target in chosen)
    outcomes: list[Outcome] = []
    for target in chosen:
        outcomes.append(fuzz(target.name, share * target.weight))
        print(outcomes[-1].row(), flush=True)
    print(table(outcomes), flush=True)
    return int(any(outcome.findings for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
