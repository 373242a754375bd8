"""Which version is installed. A file of its own, since to look it up takes half of what a service imports."""

from __future__ import annotations

from functools import cache


@cache
def installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rolltrace")
    except PackageNotFoundError:
        return "(not installed)"
