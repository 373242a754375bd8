"""The flags of a service, and a `--help` that teaches the settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from rolltrace_settings import rllm
from rolltrace_settings.errors import SettingsError, nearest
from rolltrace_settings.kinds import SWITCH
from rolltrace_settings.settings import DECLARATIONS, DEFAULTS, PROGRAMS, Service, flag, variable
from rolltrace_settings.sources import CONFIG_VARIABLE, Given
from rolltrace_settings.version import installed_version

PURPOSES: dict[Service, str] = {
    "proxy": "The HTTP data plane: forwards the agents' calls and records each one.",
    "control": "The gRPC control plane: sessions, workers, and the live log of traces.",
    "up": "Start one control service and the proxies, and keep them running.",
}
EPILOG = """\
A flag wins over its variable (in brackets), a variable over the YAML file, the file over the default.
Sizes are bytes or 64KiB, 64MiB, 1GB; durations are seconds or 250ms, 30s, 5m, 1h.
A key of the YAML file is a flag's name with underscores; its `workers:` is a list of URLs or of
{url, model_name, weight, api_path, api_key, engine, ca_file, worker_id}.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see --help)")


class Version(argparse.Action):
    """argparse's own action, that asks for the version only when it is to be shown."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"rolltrace {installed_version()}")
        parser.exit()


def parser(service: Service) -> argparse.ArgumentParser:
    """The parser of a service's command line. It raises SettingsError."""
    made = _Parser(
        prog=PROGRAMS[service],
        usage="%(prog)s [SETTING ...]",
        description=PURPOSES[service],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action=Version, help="show program's version number and exit")
    made.add_argument("--config", metavar="FILE", help=f"A YAML file of settings. [{CONFIG_VARIABLE}]")
    groups = {
        title: made.add_argument_group(title)
        for title in dict.fromkeys(DECLARATIONS[name].group for name in names(service))
    }
    for name in names(service):
        switch = DECLARATIONS[name].kind is SWITCH
        groups[DECLARATIONS[name].group].add_argument(
            flag(name),
            dest=name,
            action="append" if name == "workers" else "store",
            nargs="?" if switch else None,
            const="true" if switch else None,
            metavar=metavar(name),
            help=help_text(name).replace("%", "%%"),
        )
    if service == "up":  # as rLLM's gateway has it
        made.add_argument(rllm.STORE_FLAG, dest=rllm.STORE_KEY, help=argparse.SUPPRESS)
    return made


def names(service: Service) -> list[str]:
    """The settings that a service uses and that have a flag."""
    return [name for name, made in DECLARATIONS.items() if service in made.services and not made.secret]


def metavar(name: str) -> str:
    """What stands for the value: the choices, or its kind."""
    declaration = DECLARATIONS[name]
    return "|".join(declaration.choices) if declaration.choices else declaration.kind.name.upper()


def help_text(name: str) -> str:
    """What the setting is for, its default and its variable."""
    given = " Repeatable." if name == "workers" else ""
    shown = default_text(name)
    default = f" Default: {shown}." if shown else ""
    return f"{DECLARATIONS[name].help}{given}{default} [{variable(name)}]"


def default_text(name: str) -> str:
    """The default as a person would write it; empty for none."""
    value: object = getattr(DEFAULTS, name)
    return DECLARATIONS[name].kind.show(value) if isinstance(value, str | int | float) else ""


def from_flags(argv: Sequence[str], service: Service) -> tuple[dict[str, Given], str | None]:
    """The settings that flags give, and the config file that they name."""
    namespace, extra = parser(service).parse_known_args(argv)
    if extra:
        raise SettingsError(unknown_argument(extra[0], service))
    values: dict[str, str | list[str] | None] = vars(namespace)
    config = values.pop("config")
    given: dict[str, Given] = {}
    for name, value in values.items():
        if isinstance(value, list):
            given[name] = Given([Given(url, flag(name)) for url in value], flag(name))
        elif value is not None:
            given[name] = Given(value, rllm.STORE_FLAG if name in rllm.KEYS else flag(name))
    return given, config if isinstance(config, str) else None


def unknown_argument(argument: str, service: Service) -> str:
    """What to say of an argument that the service does not take."""
    name = argument.split("=", 1)[0]
    if not name.startswith("-"):
        return f"{argument!r} is not understood; every argument is a flag (see --help)"
    for other, declaration in DECLARATIONS.items():
        if flag(other) == name and declaration.secret:
            return f"{name}: a secret is not for a command line; use {flag(other)}-file or {variable(other)}"
        if flag(other) == name:
            users = " and ".join(PROGRAMS[user] for user in declaration.services)
            return f"{name}: is a setting of {users}, not of {PROGRAMS[service]}"
    flags = [flag(known) for known in names(service)]
    return f"{name}: no such flag{nearest(name, [*flags, '--config', '--help', '--version'])}"
