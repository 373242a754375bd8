"""`python -m rolltrace_store check|stat|compact`, which `rolltrace db` runs. A shell.

Exit status: 0 done or sound, 1 not sound, or not done; 2 a command that cannot be.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb

from rolltrace_store import schema
from rolltrace_store.check import check, ticks
from rolltrace_store.check_tables import Finding
from rolltrace_store.compaction import compact
from rolltrace_store.errors import StoreError
from rolltrace_store.inspection import snapshot
from rolltrace_store.sizes import human, render, sizes

_SHOWN = 100
_PROGRESS_EVERY = 2.0

_DESCRIPTION = "Look after an environment on disk. The services may run meanwhile; none of this changes it."
_EXAMPLES = """\
examples:
  rolltrace db check --db-path data               verify it; exit status 1 when something is wrong
  rolltrace db stat --db-path data --json         sizes by table, for programs
  rolltrace db compact --db-path data data-small  a copy without free pages
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command of `argv` (None: of the process) and returns its exit status."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except (StoreError, lmdb.Error, OSError) as error:
        print(f"rolltrace db: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rolltrace db",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="check|stat|compact", required=True)
    _add(commands, "check", _check, "verify every row, index, counter and chain of traces")
    stat = _add(commands, "stat", _stat, "print rows and sizes by table")
    stat.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    copy = _add(commands, "compact", _compact, "copy it without its free pages")
    copy.add_argument("target", type=_path, help="directory for the copy; must not exist")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],  # pyright: ignore[reportPrivateUsage]  # it has no public name
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    parser.add_argument("--db-path", type=_path, default=Path("data"), help="the environment (default: data)")
    parser.set_defaults(run=run)
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _check(arguments: argparse.Namespace) -> int:
    findings = 0

    def report(finding: Finding) -> None:
        nonlocal findings
        findings += 1
        if findings <= _SHOWN:
            print(finding)

    with snapshot(arguments.db_path) as source:
        check(source, report, _progress(ticks(source)))
        sessions, traces, events = (
            source.count(table.name) for table in (schema.SESSIONS, schema.TRACE_IDS, schema.LOG)
        )
    if findings > _SHOWN:
        print(f"... and {findings - _SHOWN} more")
    verdict = f"NOT SOUND: {findings} findings" if findings else "sound"
    print(f"{arguments.db_path} is {verdict} ({sessions} sessions, {traces} traces, {events} events)")
    return 1 if findings else 0


def _progress(total: int) -> Callable[[], None]:
    """Says now and then on stderr how far it is."""
    done, told = 0, time.monotonic()

    def tick() -> None:
        nonlocal done, told
        done += 1
        if done % 256 == 0 and time.monotonic() - told >= _PROGRESS_EVERY:
            told = time.monotonic()
            print(f"checked {done:,} of {total:,} rows", file=sys.stderr)

    return tick


def _stat(arguments: argparse.Namespace) -> int:
    with snapshot(arguments.db_path) as source:
        found = sizes(source)
    print(json.dumps(found.to_dict()) if arguments.json else render(found))
    return 0


def _compact(arguments: argparse.Namespace) -> int:
    done = compact(arguments.db_path, arguments.target)
    print(f"{arguments.target}: {human(done.after)}, from {human(done.before)}")
    print("to use it, stop the services and give it as --db-path, or put it in the original's place")
    return 0


if __name__ == "__main__":
    sys.exit(main())
