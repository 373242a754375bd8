"""The dialects by the endpoint that agents call. A new one is added here."""

from __future__ import annotations

from rolltrace_proxy.dialects.interface import Dialect, Wording
from rolltrace_proxy.dialects.messages.dialect import CountTokens, Messages
from rolltrace_proxy.dialects.responses.dialect import Responses
from rolltrace_proxy.rewrite import TOKEN_ENDPOINTS

DIALECTS: dict[str, Dialect] = {"messages": Messages(), "responses": Responses()}

WORDINGS: dict[str, Wording] = {**DIALECTS, "messages/count_tokens": CountTokens()}


def carries_tokens(endpoint: str) -> bool:
    """Whether answers to calls of this path after "/v1/" have tokens to capture."""
    return endpoint in TOKEN_ENDPOINTS or endpoint in DIALECTS


def dialect_of(endpoint: str) -> Dialect | None:
    """The dialect of a path after "/v1/"; None where nothing is translated."""
    return DIALECTS.get(endpoint)


def wording_of(endpoint: str) -> Wording | None:
    """How errors are said on a path after "/v1/"; None where they come as they are."""
    return WORDINGS.get(endpoint)
