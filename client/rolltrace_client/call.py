"""A call as a value: what is sent where, and what the answer means. Pure.

The functions of session_calls, worker_calls, trace_calls, policy_calls and gateway_calls make these; Client
and AsyncClient take their methods from there, with names, arguments, defaults and documentation. Rules: every
mutation carries a request_id, so that it may be repeated; what cannot be sent is refused before anybody
is asked, as InvalidArgument; times are seconds, and a `timeout` of None is the client's own.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from google.protobuf.struct_pb2 import Struct

from .errors import invalid

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Call(Generic[V]):
    """One unary RPC. `extra` seconds are added to the timeout, for a service that is asked to wait."""

    path: str
    body: bytes
    read: Callable[[bytes], V]
    timeout: float | None = None
    extra: float = 0.0


@dataclass(frozen=True, slots=True)
class Gathered(Generic[V]):
    """One RPC whose answer comes in messages; `read` takes all of them."""

    path: str
    body: bytes
    read: Callable[[list[bytes]], V]
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Pages(Generic[V]):
    """A list that comes page by page: the call for the page of a token, "" for the first."""

    page: Callable[[str], Call[tuple[list[V], str]]]


def new_request_id(given: str | None) -> str:
    return uuid.uuid4().hex if given is None else given


def struct(field: str, values: Mapping[str, object] | None) -> Struct | None:
    """JSON-like values as a Struct; None, which leaves the field unset, for none."""
    if not values:
        return None
    made = Struct()
    try:
        made.update(cast(Any, values))
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid(field, f"takes what JSON takes ({error})") from error
    return made


def present(method: Callable[..., object], build: Callable[..., object]) -> None:
    """Makes `method` look like `build` to help() and editors: the same name, words and arguments."""
    signature = inspect.signature(build)
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__name__ = build.__name__
    method.__doc__ = build.__doc__
    method.__dict__["__signature__"] = signature.replace(
        parameters=[me, *signature.parameters.values()], return_annotation=inspect.Signature.empty
    )
