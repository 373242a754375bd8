"""`python -m bench [SCENARIO ...]`: each scenario's figures beside what they should be at most."""

import argparse
import asyncio
import statistics
from collections.abc import Callable, Iterator

from bench.delivery import delivery_times
from bench.figures import Figure
from bench.storage import bytes_of_session


def storage() -> Iterator[Figure]:
    """A session that grows by 520 tokens a turn."""
    sizes = {turns: asyncio.run(bytes_of_session(turns)) for turns in (50, 100)}
    yield Figure("a session of 50 turns, 26k tokens in the end", sizes[50] / 1e6, "MB", 0.5)
    yield Figure("a session of 100 turns, 52k tokens in the end", sizes[100] / 1e6, "MB")
    yield Figure("100 turns against 50", sizes[100] / sizes[50], "x", 2.3)


def delivery() -> Iterator[Figure]:
    """From a commit in the proxy to a subscriber in another process."""
    times = sorted(1e3 * seconds for seconds in asyncio.run(delivery_times(300)))
    yield Figure("commit to subscriber, median of 300", statistics.median(times), "ms", 5)
    yield Figure("commit to subscriber, 99th percentile", times[int(0.99 * len(times))], "ms")


SCENARIOS: dict[str, Callable[[], Iterator[Figure]]] = {"storage": storage, "delivery": delivery}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all unless told")
    wanted = parser.parse_args().scenario or list(SCENARIOS)
    for name in wanted:
        if name not in SCENARIOS:
            parser.error(f"there is no scenario {name!r}: choose from {', '.join(SCENARIOS)}")
    for name in wanted:
        print(f"{name}: {SCENARIOS[name].__doc__}")
        for figure in SCENARIOS[name]():
            print(figure, flush=True)


if __name__ == "__main__":
    main()
