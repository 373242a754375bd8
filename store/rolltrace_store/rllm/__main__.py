"""`python -m rolltrace_store.rllm FILE`, which `rolltrace import` runs. A shell.

Exit status: 0 all is there, 1 something was left out or the rest could not be imported, 2 a command that
cannot be, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rolltrace_store.errors import StoreError
from rolltrace_store.inspection import map_size
from rolltrace_store.lmdb_store import DEFAULTS, StoreOptions, open_store
from rolltrace_store.rllm.importing import Tally, bring_over
from rolltrace_store.rllm.source import Source, SourceError, opened

_SHOWN = 100
_PROGRESS_EVERY = 2.0

_DESCRIPTION = """\
Bring the traces of rLLM's gateway over from the SQLite file that it wrote. The file is only read. Run it as
often as you like: what is there already is passed over. The services may run meanwhile, and rLLM's gateway.
"""
_EXAMPLES = """\
examples:
  rolltrace import ~/.rllm/gateway_traces.db
  rolltrace import traces.db --db-path data --json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command of `argv` (None: of the process) and returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        with opened(arguments.file) as source:
            tally = asyncio.run(_import(source, arguments.db_path))
    except (SourceError, StoreError, OSError) as error:
        print(f"rolltrace import: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(_as_json(tally) if arguments.json else _in_words(tally, arguments.file))
    return 1 if tally.left_out else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rolltrace import",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=_path, metavar="FILE", help="the SQLite file of rLLM's gateway")
    parser.add_argument(
        "--db-path", type=_path, default=Path("data"), help="the environment, made if need be (default: data)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a sentence")
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser()


async def _import(source: Source, db_path: Path) -> Tally:
    """Raises StoreError, SourceError."""
    size = map_size(db_path) or DEFAULTS.max_db_size
    store = open_store(db_path, StoreOptions(max_db_size=size))
    told = _Told()
    try:
        return await bring_over(source.rows(), store, told.left_out, _progress(len(source)))
    finally:
        told.rest()
        await store.close()


class _Told:
    """Names what is left out on stderr, the first of very many."""

    def __init__(self) -> None:
        self._count = 0

    def left_out(self, said: str) -> None:
        self._count += 1
        if self._count <= _SHOWN:
            print(f"rolltrace import: {said}", file=sys.stderr)

    def rest(self) -> None:
        if self._count > _SHOWN:
            print(f"rolltrace import: ... and {self._count - _SHOWN} more", file=sys.stderr)


def _progress(total: int) -> Callable[[int], None]:
    """Says now and then on stderr how far it is."""
    done, told = 0, time.monotonic()

    def tick(count: int) -> None:
        nonlocal done, told
        done += count
        if time.monotonic() - told >= _PROGRESS_EVERY:
            told = time.monotonic()
            print(f"looked at {done:,} of {total:,} traces", file=sys.stderr)

    return tick


def _as_json(tally: Tally) -> str:
    counts = {"imported": tally.imported, "already_there": tally.already_there, "left_out": tally.left_out}
    return json.dumps({**counts, "sessions": len(tally.sessions)})


def _in_words(tally: Tally, file: Path) -> str:
    parts = [f"imported {_count(tally.imported, 'trace')} of {_count(len(tally.sessions), 'session')}"]
    if not tally.imported:
        parts = ["nothing to import"]
    if tally.already_there:
        parts.append(f"{tally.already_there:,} were there already")
    if tally.left_out:
        parts.append(f"{tally.left_out:,} are left out")
    return f"{file}: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


if __name__ == "__main__":
    sys.exit(main())
