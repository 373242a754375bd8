"""`python -m bench.soak --minutes N`: a pair under `rolltrace up`, and everything that can happen to it.

The verdicts come at the end. Exit status 1 when one is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.soak.plan import Plan
from bench.soak.scenario import soak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--agents", type=int, default=16, help="sessions that run at the same time")
    parser.add_argument("--subscribers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    said = f"{given.agents} agents, {given.subscribers} subscribers, seed {given.seed}"
    print(f"a soak of {given.minutes:g} minutes: {said}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(60 * given.minutes, given.agents, given.subscribers, given.seed, Path(folder))
        found = asyncio.run(soak(plan))
        broken = any(verdict.good is False for verdict in found)
        if broken:
            print(f"\nthe end of the services' log\n{plan.log.read_text()[-4000:]}")
    print("\nverdicts")
    for verdict in found:
        print(verdict)
    sys.exit(broken)


if __name__ == "__main__":
    main()
