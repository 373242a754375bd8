"""`python -m rolltrace_demo agent`. What it needs is imported when it runs: the worker needs none of it."""

from __future__ import annotations

import argparse
import os

HELP = "an agent runs, its traces arrive live"
DESCRIPTION = """\
Runs a small agent through the openai SDK, with a tool call and a streamed answer, and prints each of
its traces as it arrives over gRPC. Needs a running pair: make run, or rolltrace up.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="model calls to make")
    parser.add_argument(
        "--control",
        default=os.environ.get("ROLLTRACE_CONTROL", "127.0.0.1:9091"),
        metavar="HOST:PORT",
        help="the control service",
    )
    parser.add_argument("--model", default="", metavar="NAME", help="the model; empty: the workers' first")


def run(arguments: argparse.Namespace) -> int:
    from rolltrace_demo.agent_session import show

    return show(arguments.control, arguments.turns, arguments.model)
