"""`rolltrace import`: traces of another gateway. The store's own command does the work, in this process's
place."""

from __future__ import annotations

import argparse

from .arguments import Subparsers
from .db import run_store


def register(groups: Subparsers) -> None:
    """Its arguments go to the store's command as they are, which knows them and their help."""
    parser = groups.add_parser(
        "import", help="bring over what rLLM's gateway recorded", add_help=False, prefix_chars="\0"
    )
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    given: list[str] = arguments.arguments
    return run_store("rolltrace_store.rllm", [*given, "--json"] if arguments.json else given)
