"""`python -m rolltrace_demo COMMAND`: one line of the table below for each command."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rolltrace_demo import agent_command, up_command, worker_command


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    help: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS = (
    Command(
        "worker",
        worker_command.HELP,
        worker_command.DESCRIPTION,
        worker_command.add_arguments,
        worker_command.run,
    ),
    Command("up", up_command.HELP, up_command.DESCRIPTION, up_command.add_arguments, up_command.run),
    Command(
        "agent",
        agent_command.HELP,
        agent_command.DESCRIPTION,
        agent_command.add_arguments,
        agent_command.run,
    ),
)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the defaults and leaves the description's lines as they are."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rolltrace_demo", description="The first minute.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            formatter_class=_Formatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
