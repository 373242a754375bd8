"""`rolltrace policy`: which version of the weights the workers serve."""

from __future__ import annotations

import argparse

from ..policy import Policy
from .arguments import Subparsers, add_command, add_group, connect
from .output import print_facts, print_json

EXAMPLES = """\
examples:
  rolltrace policy set 17                         the workers serve version 17 from now on
  rolltrace policy show

Each call is recorded with the version that was set when it was sent to its worker.
"""


def register(groups: Subparsers) -> None:
    commands = add_group(groups, "policy", "say which version of the weights the workers serve", EXAMPLES)
    add_command(commands, "show", "show the version that was set last", _show)
    setting = add_command(commands, "set", "say which version the workers serve from now on", _set)
    setting.add_argument("policy_version", metavar="VERSION", help="any text, e.g. 17 or step-000120")


def _show(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        return _print(client.get_policy(), arguments)


def _set(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        return _print(client.set_policy_version(arguments.policy_version), arguments)


def _print(policy: Policy, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json(policy)
    elif policy.policy_version:
        print_facts({"policy version": policy.policy_version, "since": policy.change_time})
    else:
        print("no version was ever set")
    return 0
