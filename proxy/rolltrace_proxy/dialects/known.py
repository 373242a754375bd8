"""The dialects by the endpoint that agents call. A new one is added here.

Each is imported by the first call that needs it: who speaks chat completions alone has nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from rolltrace_proxy.dialects.interface import Dialect, Wording
from rolltrace_proxy.rewrite import TOKEN_ENDPOINTS


def _messages() -> Dialect:
    from rolltrace_proxy.dialects.messages.dialect import Messages

    return Messages()


def _responses() -> Dialect:
    from rolltrace_proxy.dialects.responses.dialect import Responses

    return Responses()


def _count_tokens() -> Wording:
    from rolltrace_proxy.dialects.messages.dialect import CountTokens

    return CountTokens()


_DIALECTS: dict[str, Callable[[], Dialect]] = {"messages": cache(_messages), "responses": cache(_responses)}
_WORDINGS: dict[str, Callable[[], Wording]] = {**_DIALECTS, "messages/count_tokens": cache(_count_tokens)}


def carries_tokens(endpoint: str) -> bool:
    """Whether answers to calls of this path after "/v1/" have tokens to capture."""
    return endpoint in TOKEN_ENDPOINTS or endpoint in _DIALECTS


def dialect_of(endpoint: str) -> Dialect | None:
    """The dialect of a path after "/v1/"; None where nothing is translated."""
    home = _DIALECTS.get(endpoint)
    return None if home is None else home()


def wording_of(endpoint: str) -> Wording | None:
    """How errors are said on a path after "/v1/"; None where they come as they are."""
    home = _WORDINGS.get(endpoint)
    return None if home is None else home()
