"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, TypeAlias, cast

from ..access import Tls, token_of_file
from ..client import Client
from ..wire import DEFAULT_TARGET

# argparse has no public name for what add_subparsers() returns.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]

# A person waits: no service is told at once, not after the many seconds that a trainer gives it.
PATIENCE = 1.0


def add_shared(parser: argparse.ArgumentParser, *, at_top: bool = False) -> None:
    """How to reach the service, and --json, which may stand before the group's name or at the end."""
    environment = os.environ.get("ROLLTRACE_CONTROL", DEFAULT_TARGET)
    parser.add_argument(
        "--control",
        metavar="HOST:PORT",
        default=environment if at_top else argparse.SUPPRESS,
        help=f"the control service (or ROLLTRACE_CONTROL; now {environment})",
    )
    files = {
        "--token-file": "the admin token (or ROLLTRACE_ADMIN_TOKEN)",
        "--tls-ca-file": "encrypt; the service's certificate descends from these (or ROLLTRACE_TLS_CA_FILE)",
        "--tls-cert-file": "encrypt; this client's own certificate",
        "--tls-key-file": "its private key",
    }
    for flag, text in files.items():
        default = "" if at_top else argparse.SUPPRESS
        parser.add_argument(flag, metavar="FILE", default=default, help=text)
    parser.add_argument(
        "--tls",
        action="store_true",
        default=False if at_top else argparse.SUPPRESS,
        help="encrypt; the service's certificate descends from the usual roots",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        default=False if at_top else argparse.SUPPRESS,
        help="print JSON, one object a line, for programs",
    )


def add_group(groups: Subparsers, name: str, summary: str, examples: str) -> Subparsers:
    """A group of commands, as `rolltrace workers`."""
    group = groups.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return group.add_subparsers(metavar="COMMAND", required=True)


def add_command(commands: Subparsers, name: str, summary: str, run: object) -> argparse.ArgumentParser:
    """A command that talks to the control service; `run` takes the parsed arguments."""
    parser = commands.add_parser(name, help=summary, description=summary)
    add_shared(parser)
    parser.set_defaults(run=run)
    return parser


def connect(arguments: argparse.Namespace) -> Client:
    ca_file = arguments.tls_ca_file or os.environ.get("ROLLTRACE_TLS_CA_FILE", "")
    tls = Tls(ca_file, arguments.tls_cert_file, arguments.tls_key_file)
    return Client(
        arguments.control,
        retry_for=PATIENCE,
        token=token_of_file(arguments.token_file) if arguments.token_file else None,
        tls=tls if arguments.tls or tls != Tls() else False,
    )


def add_labels(parser: argparse.ArgumentParser, summary: str) -> None:
    parser.add_argument(
        "--label",
        metavar="KEY=VALUE",
        type=_pair,
        action="append",
        default=[],
        help=f"{summary} (repeatable)",
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def json_object(text: str) -> dict[str, Any]:
    """For arguments like '{"temperature": 1.0}'."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return cast("dict[str, Any]", value)
