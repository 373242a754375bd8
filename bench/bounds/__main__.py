"""`python -m bench.bounds [SCENARIO ...]`: figures beside their bounds; exit status 1 when one is over."""

from __future__ import annotations

import argparse

from bench.bounds import streams


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bounds", description=__doc__)
    parser.add_argument("scenario", nargs="*", help="of streams; all unless told")
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--prompt", type=int, default=2000)
    a = parser.parse_args()
    load = streams.Load(calls=a.streams, prompt=a.prompt)
    for figure in streams.figures(load, streams.run(load)):
        print(figure, flush=True)


if __name__ == "__main__":
    main()
