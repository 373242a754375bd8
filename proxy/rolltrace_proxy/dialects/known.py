"""The dialects by the endpoint that agents call. A new one is added here."""

from __future__ import annotations

from rolltrace_proxy.dialects.interface import Dialect
from rolltrace_proxy.dialects.messages.dialect import Messages
from rolltrace_proxy.dialects.responses.dialect import Responses

DIALECTS: dict[str, Dialect] = {"messages": Messages(), "responses": Responses()}


def dialect_of(endpoint: str) -> Dialect | None:
    """The dialect of a path after "/v1/"; None where nothing is translated."""
    return DIALECTS.get(endpoint)
