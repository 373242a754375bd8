"""`python -m bench`: Rolltrace beside other gateways, as markdown; what was measured is kept as JSON lines.

Gateways are visited in turn in each round, so that the machine's noise hits all alike. CPU is user and system
time of a gateway's whole tree of processes, until all that it writes later is written. Figures are medians
of the rounds, with the least and the most.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.compare import (
    bounds,
    delivering,
    growing,
    idle,
    loads,
    needs,
    parts,
    proxies,
    reading,
    report,
    rows,
    starting,
    targets,
)
from bench.compare.rows import Row

Measure = Callable[[int, float], Iterator[Row]]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What `python -m bench` can measure. `measure` takes rounds, and seconds of load a round."""

    title: str
    shown: tuple[str, ...]
    measure: Measure


def _rounds(measure: Callable[[int], Iterator[Row]]) -> Measure:
    return lambda rounds, seconds: measure(rounds)


SCENARIOS = {
    name: Scenario(load.title, load.shown, partial(loads.measure, name)) for name, load in loads.LOADS.items()
} | {
    "e": Scenario(
        "a session of 50 turns, 500 tokens more each, read back",
        growing.SHOWN["e"],
        _rounds(growing.measure),
    ),
    "turns": Scenario(
        "sessions of more turns", growing.SHOWN["turns"], lambda rounds, _: growing.measure_turns(1)
    ),
    "subscribe": Scenario(
        "10,000 stored traces of 8 KB", reading.SHOWN["subscribe"], _rounds(reading.measure)
    ),
    "delivery": Scenario(
        "from commit to subscriber, 4 KB bodies, 200 tokens sampled",
        delivering.SHOWN["delivery"],
        _rounds(delivering.measure),
    ),
    "proxies": Scenario(
        "as a: one proxy and two, on cores that the load shares", proxies.SHOWN["proxies"], proxies.measure
    ),
    "parts": Scenario(
        "what a call costs, by part; CPU",
        parts.SHOWN["parts"],
        lambda rounds, seconds: parts.measure(seconds),
    ),
    "idle": Scenario(
        "5,000 streams that are open and say nothing",
        idle.SHOWN["idle"],
        lambda rounds, seconds: idle.measure(),
    ),
    "start": Scenario(
        "`rolltrace up`, and the client's import", starting.SHOWN["start"], _rounds(starting.measure)
    ),
}


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in info if line.startswith("model name")), "CPU")
    busy = os.getloadavg()[0]
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    python = f"Python {platform.python_version()}"
    return f"{when} UTC, {os.cpu_count()} cores ({model}), {python}, load average {busy:.1f} at the start"


def measured(name: str, given: argparse.Namespace, kept: Path) -> bounds.Measured:
    """The medians of one scenario. What fails is told, and leaves what was measured until then."""
    found: list[Row] = []
    begun = time.monotonic()
    print(f"{name}: {SCENARIOS[name].title} ...", file=sys.stderr, flush=True)
    try:
        found.extend(SCENARIOS[name].measure(given.rounds, given.seconds))
    except Exception as error:  # whatever it is, the other scenarios are measured
        print(f"{name} failed: {error!r}", file=sys.stderr)
        found.append(Row(name, "the scenario itself", 0, {"errors": 1.0}))
    with kept.open("a") as file:
        file.writelines(json.dumps(dataclasses.asdict(row)) + "\n" for row in found)
    print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return rows.spreads(rows.with_ratios(found))


def run(wanted: Sequence[str], given: argparse.Namespace, kept: Path) -> Iterator[str]:
    """The lines of the report, as soon as they are known."""
    yield f"{machine()}; {given.rounds} rounds"
    yield ""
    everything: bounds.Measured = {}
    for name in wanted:
        of_scenario = measured(name, given, kept)
        everything = {**everything, **of_scenario}
        yield from report.scenario(name, SCENARIOS[name].title, SCENARIOS[name].shown, of_scenario)
    yield from report.calculated(list(needs.told(everything)))
    yield from report.judged(list(bounds.verdicts(everything)))


def main() -> None:
    given, wanted = arguments()
    if given.no_peers:
        targets.leave_out_peers()
    given.keep.mkdir(parents=True, exist_ok=True)
    kept: Path = given.keep / time.strftime("%Y%m%d-%H%M%S.jsonl", time.gmtime())
    lines: list[str] = []
    for line in run(wanted, given, kept):
        print(line, flush=True)
        lines.append(line)
    print(f"all rounds: {kept}", file=sys.stderr)
    if out := given.out:
        document = out.read_text(encoding="utf-8") if out.exists() else ""
        out.write_text(report.placed(document, "\n".join(lines) + "\n"), encoding="utf-8")


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """What was given, and the scenarios that are wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default="", help=f"between commas, of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of load on one gateway in one round")
    parser.add_argument("--no-peers", action="store_true", help="Rolltrace alone")
    parser.add_argument("--out", type=Path, help="a document: the run takes the place between its marks")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/bench"), help="a folder for what was measured"
    )
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name] or list(SCENARIOS)
    if unknown := [name for name in wanted if name not in SCENARIOS]:
        parser.error(f"there is no scenario {unknown[0]!r}: choose from {', '.join(SCENARIOS)}")
    return given, wanted


if __name__ == "__main__":
    main()
