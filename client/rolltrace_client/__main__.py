"""The `rolltrace` command: its groups are in commands/, one file each.

Exit status: 0 done, 1 an error (one line on stderr), 2 a command that cannot be, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from .errors import InvalidArgument, RolltraceError
from .groupless import means_up

EXAMPLES = """\
a first minute:
  rolltrace up --worker http://127.0.0.1:8000     start the pair on an inference server
  rolltrace sessions create --label task=gsm8k    prints the base URL for the agent
  rolltrace traces tail                           each call of the agents, as it is recorded

`rolltrace GROUP --help` tells more, with examples. Without a group, the settings of `rolltrace up` are meant:
  rolltrace --port 9090 --worker http://127.0.0.1:8000/v1
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command of `argv` (None: of the process) and returns its exit status."""
    try:
        status = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except RolltraceError as error:
        print(f"rolltrace: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidArgument) and not error.code else 1
    except BrokenPipeError:
        # Whoever read has seen enough. Nothing is left to flush at exit, which would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == ["up"] or means_up(argv):
        from .commands.up import up  # it stays as long as the services do: without what needs gRPC

        return up(argv[1:] if argv[0] == "up" else argv)
    if not argv:
        _parser().print_help(sys.stderr)
        return 2
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _parser() -> argparse.ArgumentParser:
    from rolltrace_settings.flags import Version

    from .commands import bring, db, policy, sessions, status, traces, up, workers
    from .commands.arguments import add_shared

    parser = argparse.ArgumentParser(
        prog="rolltrace",
        description="The model gateway that records every call of an agent, token for token.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, help="show program's version number and exit")
    add_shared(parser, at_top=True)
    groups = parser.add_subparsers(metavar="GROUP", required=True)
    for group in (up, workers, sessions, traces, policy, status, db, bring):
        group.register(groups)
    return parser


if __name__ == "__main__":
    sys.exit(main())
