"""`rolltrace sessions`: one rollout each."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from itertools import islice

from ..session_calls import Limits
from ..sessions import InFlightCalls, Session, SessionState, calls
from ..traces import View
from ..verification import verify
from .arguments import Subparsers, add_command, add_group, add_labels, connect, json_object
from .output import EMPTY, as_json, print_facts, print_json, print_table

EXAMPLES = """\
examples:
  rolltrace sessions create --label task=gsm8k --sampling-params '{"temperature": 1.0}'
  rolltrace sessions list --label task=gsm8k --state open
  rolltrace sessions show harbor/hello-world:0
  rolltrace sessions seal harbor/hello-world:0 --status success --reward 1
  rolltrace sessions verify harbor/hello-world:0        is all there that was recorded?
  rolltrace sessions delete harbor/hello-world:0
"""


def register(groups: Subparsers) -> None:
    commands = add_group(groups, "sessions", "create, list, show, seal, verify and delete sessions", EXAMPLES)
    _add_list(commands)
    show = add_command(commands, "show", "show a session", _show)
    show.add_argument("session_id", metavar="ID")
    _add_create(commands)
    _add_seal(commands)
    summary = "recompute a sealed session's digest; exit with 1 when a trace of it is missing or changed"
    verifying = add_command(commands, "verify", summary, _verify)
    verifying.add_argument("session_id", metavar="ID")
    delete = add_command(commands, "delete", "delete sessions and their traces", _delete)
    delete.add_argument("session_ids", metavar="ID", nargs="+")


def _add_list(commands: Subparsers) -> None:
    listing = add_command(commands, "list", "list sessions in the order of their ids", _list)
    listing.add_argument("--prefix", default="", help="ids that begin so")
    listing.add_argument(
        "--state", choices=[word.lower() for word in list(SessionState)[1:]], help="only those"
    )
    listing.add_argument("--group", default="", metavar="ID", help="of this group")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (all)")
    add_labels(listing, "only those that carry it")


def _add_create(commands: Subparsers) -> None:
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
    create.add_argument(
        "--max-calls", type=int, metavar="N", help="refuse calls beyond (the gateway's limit)"
    )
    create.add_argument("--max-tokens", type=int, metavar="N", help="prompt and sampled tokens, likewise")
    create.add_argument("--max-time", type=float, metavar="SECONDS", help="since its creation, likewise")
    add_labels(create, "a short fact to filter by")


def _add_seal(commands: Subparsers) -> None:
    summary = "freeze a session: no more calls, final counts and digest"
    seal = add_command(commands, "seal", summary, _seal)
    seal.add_argument("session_id", metavar="ID")
    seal.add_argument("--status", default="", help="how the rollout ended, in a word")
    seal.add_argument("--reward", type=float, metavar="NUMBER")
    seal.add_argument("--metadata", type=json_object, metavar="JSON", help="anything to find again")
    seal.add_argument(
        "--in-flight",
        choices=[word.lower() for word in list(InFlightCalls)[1:]],
        default="wait",
        help="let calls that run end, or cut them off (wait)",
    )
    seal.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long calls that run are awaited (60)"
    )


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
            print_table(
                ["ID", "STATE", "CALLS", "FAILED", "INCOMPLETE", "CREATED", "LABELS"], map(_row, chosen)
            )
    return 0


def _row(session: Session) -> tuple[object, ...]:
    counts = (session.call_count, session.failed_call_count, "yes" if session.incomplete else "")
    return (session.session_id, session.state, *counts, session.create_time, session.labels)


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
            limits=_limits(arguments),
        )
    _print(session, arguments)
    return 0


def _limits(arguments: argparse.Namespace) -> Limits:
    limits = Limits()
    if arguments.max_calls is not None:
        limits["max_calls"] = arguments.max_calls
    if arguments.max_tokens is not None:
        limits["max_tokens"] = arguments.max_tokens
    if arguments.max_time is not None:
        limits["max_time"] = arguments.max_time
    return limits


def _seal(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        session = client.seal_session(
            arguments.session_id,
            status=arguments.status,
            reward=arguments.reward,
            metadata=arguments.metadata,
            in_flight=InFlightCalls(arguments.in_flight.upper()),
            seal_timeout=arguments.timeout,
        )
    _print(session, arguments)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        session = client.get_session(arguments.session_id)
        found = verify(session, client.list_traces(arguments.session_id, view=View.FULL))
    if arguments.json:
        print_json({**asdict(found), "verified": found.verified, "complete": found.complete})
    elif found.verified:
        print(f"verified: {calls(session.call_count)}, digest {session.digest}")
    for word, sentences in (("incomplete", found.missing), ("wrong", found.wrong)):
        for sentence in sentences:
            print(f"{word}: {sentence}", file=sys.stderr)
    return 0 if found.verified else 1


def _print(session: Session, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(session)
        return
    facts: dict[str, object] = {name: getattr(session, name) for name in session.field_names()}
    facts["incomplete"] = "; ".join(map(str, session.incomplete_reasons)) or session.incomplete
    del facts["incomplete_reasons"]
    for name in ("limits", "outcome"):
        parts: dict[str, object] = as_json(facts[name]) or {}
        facts[name] = {key: value for key, value in parts.items() if value not in EMPTY}
    for name in ("metadata", "sampling_params", "limits", "outcome"):
        facts[name] = json.dumps(as_json(facts[name])) if facts[name] else None
    for name in ("group_size", "late_call_count", "in_flight_call_count"):
        facts[name] = facts[name] or None
    print_facts(facts)


def _delete(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        deleted = client.delete_sessions(arguments.session_ids)
    if arguments.json:
        print_json(deleted)
    else:
        print(f"deleted: sessions {len(deleted.deleted_session_ids)}, traces {deleted.deleted_trace_count}")
    if deleted.missing_session_ids:
        print(f"rolltrace: no such session: {', '.join(deleted.missing_session_ids)}", file=sys.stderr)
        return 1
    return 0
