"""`rolltrace traces`: what agents asked and models sampled."""

from __future__ import annotations

import argparse
import sys
from itertools import islice

from ..events import EventKind, Position, TraceEvent
from ..traces import CallStatus, View
from .arguments import Subparsers, add_command, add_group, add_labels, connect
from .output import as_json, print_json, print_table
from .trace_text import COLUMNS, line, page, row

EXAMPLES = """\
examples:
  rolltrace traces tail                                 every call, as it is recorded
  rolltrace traces tail --session s-1 --from-start      what was recorded, then what comes
  rolltrace traces tail --json | jq .completions        for programs; each line carries its cursor
  rolltrace traces list s-1
  rolltrace traces show TRACE_ID                        token by token, with log-probabilities
  rolltrace traces blob DIGEST > experts                an image or array that a trace names

The agent finds the id of a trace in the header x-rolltrace-trace-id of its answer.
"""


def register(groups: Subparsers) -> None:
    commands = add_group(groups, "traces", "list, show and follow traces", EXAMPLES)
    listing = add_command(commands, "list", "list the traces of a session in the order of its calls", _list)
    listing.add_argument("session_id", metavar="SESSION")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (all)")
    _add_metadata(listing)
    show = add_command(commands, "show", "show a trace token by token", _show)
    show.add_argument("trace_id", metavar="ID")
    show.add_argument("--all", action="store_true", help="every token of the prompt, not its ends alone")
    blob = add_command(commands, "blob", "write a blob that a trace names to standard output", _blob)
    blob.add_argument("digest", metavar="DIGEST", help="its SHA-256, in hexadecimal")
    tail = add_command(commands, "tail", "follow traces as they are recorded", _tail)
    start = tail.add_mutually_exclusive_group()
    start.add_argument("--from-start", action="store_true", help="from the first trace that is kept")
    start.add_argument(
        "--after", metavar="CURSOR", help="after this place, as an earlier --json line gave it"
    )
    tail.add_argument(
        "--session", metavar="ID", action="append", default=[], help="of this session (repeatable)"
    )
    tail.add_argument(
        "--status",
        action="append",
        default=[],
        choices=[status.lower() for status in list(CallStatus)[1:]],
        help="with this status (repeatable)",
    )
    tail.add_argument("--limit", type=int, metavar="N", help="end after so many (never)")
    add_labels(tail, "only those that carry it")
    _add_metadata(tail)


def _add_metadata(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metadata", action="store_true", help="without tokens and bodies")


def _view(arguments: argparse.Namespace) -> View:
    return View.METADATA if arguments.metadata else View.FULL


def _list(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        found = islice(client.list_traces(arguments.session_id, view=_view(arguments)), arguments.limit)
        if arguments.json:
            for trace in found:
                print_json(trace)
        else:
            print_table(COLUMNS, map(row, found))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        trace = client.get_trace(arguments.trace_id)
    if arguments.json:
        print_json(trace)
    else:
        print(page(trace, whole_prompt=arguments.all))
    return 0


def _blob(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        sys.stdout.buffer.write(client.get_blob(arguments.digest))
    return 0


def _tail(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        events = client.subscribe(
            arguments.after,
            position=Position.EARLIEST if arguments.from_start else Position.LATEST,
            kinds=[EventKind.TRACE],
            session_ids=arguments.session,
            labels=dict(arguments.label),
            statuses=[CallStatus(status.upper()) for status in arguments.status],
            view=_view(arguments),
        )
        for event in islice(events, arguments.limit):
            if isinstance(event, TraceEvent):
                _print(event, arguments)
    return 0


def _print(event: TraceEvent, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json({"cursor": str(event.cursor), **as_json(event.trace)})
    else:
        print(line(event.trace), flush=True)
