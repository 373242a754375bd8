"""`rolltrace db`: the environment on disk. The store's own command does the work, in this process's place."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from .arguments import Subparsers

EXAMPLES = """\
examples:
  rolltrace db check --db-path data               read every chain and index, and name what does not fit
  rolltrace db stat --db-path data                sizes by table
  rolltrace db compact --db-path data data-small  a compact copy, while the services run

`rolltrace db check --help` and so on tell the rest. They read the files, so they run on their machine.
"""


def register(groups: Subparsers) -> None:
    summary = "check, measure and compact the environment on disk"
    parser = groups.add_parser(
        "db",
        help=summary,
        description=summary,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["check", "stat", "compact"])
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help="as the action takes them")
    rest.required = False  # argparse would ask for them beside a missing action
    parser.set_defaults(run=_db)


def _db(arguments: argparse.Namespace) -> int:
    return run_store("rolltrace_store", [arguments.action, *arguments.arguments])


def run_store(module: str, arguments: Sequence[str]) -> int:
    """Gives this process to a command of the store; returns only when that is not installed."""
    if find_spec("rolltrace_store") and find_spec("lmdb"):
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    print("rolltrace: the store is not installed here: pip install 'rolltrace[server]'", file=sys.stderr)
    return 1
