"""From flags, environment and YAML file to Settings. Each service's main calls `load` first."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from rolltrace_settings import rllm
from rolltrace_settings.access import check_access
from rolltrace_settings.db_path import check_db_path
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.kinds import plain
from rolltrace_settings.settings import DECLARATIONS, PROGRAMS, Service, Settings, variable
from rolltrace_settings.sources import CONFIG_VARIABLE, Given, from_environment, from_yaml
from rolltrace_settings.understand import understand

EXIT_CONFIGURATION = 2
Hint = Callable[[str], None]


def _unheard(_: str) -> None:
    """Of somebody who resolves settings that were hinted at before."""


def load(argv: Sequence[str] | None = None, *, service: Service) -> Settings:
    """The settings of a service; argv without the program's name, None for the process's own.

    An error is one line on stderr, and the process exits with 2; a hint is one too.
    """

    def hint(message: str) -> None:
        print(f"{PROGRAMS[service]}: {message}", file=sys.stderr)

    try:
        return resolve(sys.argv[1:] if argv is None else argv, os.environ, service=service, hint=hint)
    except SettingsError as error:
        print(f"{PROGRAMS[service]}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION) from None


def resolve(
    argv: Sequence[str], environ: Mapping[str, str], *, service: Service, hint: Hint = _unheard
) -> Settings:
    """Flags over environment over YAML over defaults. `hint` hears of names that are rLLM's.

    Raises SettingsError.
    """
    flags, config = _from_flags(argv, service) if argv else ({}, None)
    path = config or environ.get(CONFIG_VARIABLE)
    file = from_yaml(os.path.expanduser(path)) if path else {}
    given: dict[str, Given] = {}
    for source in (file, from_environment(environ), flags):
        given |= _ours(source, hint)
    settings = understand(given)
    places = {name: value.place for name, value in given.items()}
    check_access(settings, service, places)
    check_db_path(settings.db_path, places.get("db_path", "db_path"))
    return settings


def _ours(given: Mapping[str, Given], hint: Hint) -> dict[str, Given]:
    """What a source gives, in our names; one that it gives by both names counts by ours."""
    made: dict[str, Given] = {}
    for name, value in given.items():
        if value.place in rllm.VARIABLES and name in DECLARATIONS:
            hint(f"{value.place}: is understood; here it is {variable(name)}")
        if name in DECLARATIONS and not (name in rllm.NULLABLE and value.value is None):
            made[name] = value
    for name, value in given.items():
        if name in rllm.KEYS:
            ours = _meaning(name, value, hint)
            if ours:
                made.setdefault(ours, value)
    return made


def _meaning(name: str, given: Given, hint: Hint) -> str:
    try:
        ours, said = rllm.meaning(name, given.value)
    except ValueError as error:
        raise SettingsError(f"{given.place}: {error}") from None
    if said:
        hint(f"{given.place}: {said}")
    return ours


def _from_flags(argv: Sequence[str], service: Service) -> tuple[dict[str, Given], str | None]:
    from rolltrace_settings.flags import from_flags  # not for the children of `rolltrace up`, which have none

    return from_flags(argv, service)


def to_environment(settings: Settings) -> dict[str, str]:
    """Variables that give exactly these settings to another process, secrets included."""
    variables: dict[str, str] = {}
    for name in DECLARATIONS:
        value: object = getattr(settings, name)
        if name == "workers":
            value = json.dumps([asdict(worker) for worker in settings.workers])
        variables[variable(name)] = plain(value) if isinstance(value, float) else str(value)
    return variables
