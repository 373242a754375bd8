"""The console scripts of the two services, which say what to install where the [server] extra is missing.

The services are named, never imported from here: this package may not see them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

SERVER_MODULES = ("grpc_health", "grpc_reflection", "httptools", "lmdb", "msgspec", "uvloop", "zstandard")


def proxy() -> None:
    """`rolltrace-proxy`."""
    _run("rolltrace-proxy", "rolltrace_proxy.__main__")


def control() -> None:
    """`rolltrace-control`."""
    _run("rolltrace-control", "rolltrace_control.__main__")


def what_is_missing() -> str:
    """What to say when the services can't run here, or "". Nothing is imported."""
    missing = [name for name in SERVER_MODULES if find_spec(name) is None]
    if not missing:
        return ""
    return f"the services are not installed (no {', '.join(missing)}): pip install 'rolltrace[server]'"


def _run(program: str, module: str) -> None:
    if missing := what_is_missing():
        sys.exit(f"{program}: {missing}")
    import_module(module).main()
