"""`python -m bench.bounds [SCENARIO ...]`: figures beside their bounds; exit status 1 when one is over."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from bench.bounds import sessions, streams
from bench.figures import Figure


def _streams(given: argparse.Namespace) -> Iterator[Figure]:
    load = streams.Load(calls=given.streams, prompt=given.prompt)
    return streams.figures(load, streams.run(load))


def _sessions(given: argparse.Namespace) -> Iterator[Figure]:
    counts = (given.sessions // 100, given.sessions // 10, given.sessions)
    return sessions.figures(sessions.run(sessions.Load(counts, calls=min(1000, counts[0]))))


SCENARIOS: dict[str, tuple[ModuleType, Callable[[argparse.Namespace], Iterator[Figure]]]] = {
    "streams": (streams, _streams),
    "sessions": (sessions, _sessions),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bounds", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all unless told")
    parser.add_argument("--streams", type=int, default=5000, help="open at the same time")
    parser.add_argument("--prompt", type=int, default=2000, help="tokens of each stream's prompt")
    parser.add_argument("--sessions", type=int, default=100_000, help="in the environment, in the end")
    given = parser.parse_args()
    good = True
    for name in given.scenario or SCENARIOS:
        if name not in SCENARIOS:
            parser.error(f"there is no scenario {name!r}: choose from {', '.join(SCENARIOS)}")
        module, scenario = SCENARIOS[name]
        print(f"{name}: {module.__doc__}", flush=True)
        for figure in scenario(given):
            print(figure, flush=True)
            good = good and figure.good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
