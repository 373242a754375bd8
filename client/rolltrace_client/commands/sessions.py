"""`rolltrace sessions`: one rollout each."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice

from ..sessions import Session, SessionState
from .arguments import Subparsers, add_command, add_group, add_labels, connect, json_object
from .output import as_json, print_facts, print_json, print_table

EXAMPLES = """\
examples:
  rolltrace sessions create --label task=gsm8k --sampling-params '{"temperature": 1.0}'
  rolltrace sessions list --label task=gsm8k --state open
  rolltrace sessions show harbor/hello-world:0
  rolltrace sessions delete harbor/hello-world:0
"""


def register(groups: Subparsers) -> None:
    commands = add_group(groups, "sessions", "create, list, show and delete sessions", EXAMPLES)
    listing = add_command(commands, "list", "list sessions in the order of their ids", _list)
    listing.add_argument("--prefix", default="", help="ids that begin so")
    listing.add_argument("--state", choices=["open", "sealed"], help="only those")
    listing.add_argument("--group", default="", metavar="ID", help="of this group")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (all)")
    add_labels(listing, "only those that carry it")
    show = add_command(commands, "show", "show a session", _show)
    show.add_argument("session_id", metavar="ID")
    create = add_command(commands, "create", "make a session, and print the base URL for its agent", _create)
    create.add_argument(
        "session_id", metavar="ID", nargs="?", default="", help="(an unguessable one is made)"
    )
    create.add_argument("--metadata", type=json_object, metavar="JSON", help="anything to find again")
    create.add_argument(
        "--sampling-params", type=json_object, metavar="JSON", help="request fields that win over the agent's"
    )
    create.add_argument("--group", default="", metavar="ID", help="its group, as in GRPO")
    create.add_argument("--group-size", type=int, default=0, metavar="N", help="how many the group will have")
    add_labels(create, "a short fact to filter by")
    delete = add_command(commands, "delete", "delete sessions and their traces", _delete)
    delete.add_argument("session_ids", metavar="ID", nargs="+")


def _list(arguments: argparse.Namespace) -> int:
    state = SessionState(arguments.state.upper()) if arguments.state else None
    with connect(arguments) as client:
        found = client.list_sessions(
            prefix=arguments.prefix, state=state, group_id=arguments.group, labels=dict(arguments.label)
        )
        chosen = islice(found, arguments.limit)
        if arguments.json:
            for session in chosen:
                print_json(session)
        else:
            print_table(["ID", "STATE", "CALLS", "FAILED", "CREATED", "LABELS"], map(_row, chosen))
    return 0


def _row(session: Session) -> tuple[object, ...]:
    calls = (session.call_count, session.failed_call_count)
    return (session.session_id, session.state, *calls, session.create_time, session.labels)


def _show(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        _print(client.get_session(arguments.session_id), arguments)
    return 0


def _create(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        session = client.create_session(
            arguments.session_id,
            labels=dict(arguments.label),
            metadata=arguments.metadata,
            sampling_params=arguments.sampling_params,
            group_id=arguments.group,
            group_size=arguments.group_size,
        )
    _print(session, arguments)
    return 0


def _print(session: Session, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(session)
        return
    facts: dict[str, object] = {name: getattr(session, name) for name in session.field_names()}
    for name in ("metadata", "sampling_params", "outcome"):
        facts[name] = json.dumps(as_json(facts[name])) if facts[name] else None
    print_facts({**facts, "group_size": session.group_size or None})


def _delete(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        deleted = client.delete_sessions(arguments.session_ids)
    if arguments.json:
        print_json(deleted)
    else:
        count = len(deleted.deleted_session_ids)
        print(f"{count} sessions and {deleted.deleted_trace_count} traces deleted")
    if deleted.missing_session_ids:
        print(f"rolltrace: no such session: {', '.join(deleted.missing_session_ids)}", file=sys.stderr)
        return 1
    return 0
