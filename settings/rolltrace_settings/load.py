"""From flags, environment and YAML file to Settings. Each service's main calls `load` first."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rolltrace_settings.access import check_access
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.kinds import plain
from rolltrace_settings.settings import DECLARATIONS, PROGRAMS, Service, Settings, variable
from rolltrace_settings.sources import CONFIG_VARIABLE, Given, from_environment, from_yaml
from rolltrace_settings.understand import understand

EXIT_CONFIGURATION = 2


def load(argv: Sequence[str] | None = None, *, service: Service) -> Settings:
    """The settings of a service; argv without the program's name, None for the process's own.

    An error is one line on stderr, and the process exits with 2.
    """
    try:
        return resolve(sys.argv[1:] if argv is None else argv, os.environ, service=service)
    except SettingsError as error:
        print(f"{PROGRAMS[service]}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION) from None


def resolve(argv: Sequence[str], environ: Mapping[str, str], *, service: Service) -> Settings:
    """Flags over environment over YAML over defaults. Raises SettingsError."""
    flags, config = _from_flags(argv, service) if argv else ({}, None)
    path = config or environ.get(CONFIG_VARIABLE)
    file = from_yaml(path) if path else {}
    given = {**file, **from_environment(environ), **flags}
    settings = understand(given)
    check_access(settings, service, {name: value.place for name, value in given.items()})
    return settings


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
