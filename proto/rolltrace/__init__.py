"""`import rolltrace` for trainers: the gateway of rolltrace_embedded, and the clients, by their short names.

A name's home is imported when the name is first asked for, so that `import rolltrace.v1...` stays as cheap as
the stubs are and loads beside any grpcio and protobuf. This is the one place where the contract names what
stands above it, and it holds no code but the names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rolltrace_client import AsyncClient, Client
    from rolltrace_embedded import AnswerError, Gateway, GatewayError, Sample

__all__ = ["AnswerError", "AsyncClient", "Client", "Gateway", "GatewayError", "Sample"]

_CLIENT = ("AsyncClient", "Client")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(
        import_module("rolltrace_client" if name in _CLIENT else "rolltrace_embedded"), name
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
