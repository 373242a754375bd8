"""`python -m rolltrace_demo up`. What it needs is imported when it runs: the worker needs none of it."""

from __future__ import annotations

import argparse

HELP = "start the pair, on the demo worker unless --worker names another"
DESCRIPTION = "Takes the settings of `rolltrace up`."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every argument goes to the settings as it is, which have a --help of their own."""
    parser.prefix_chars = "\0"
    parser.add_argument("settings", nargs="*", metavar="SETTING")


def run(arguments: argparse.Namespace) -> int:
    from rolltrace_demo.up_session import up

    return up(arguments.settings)
