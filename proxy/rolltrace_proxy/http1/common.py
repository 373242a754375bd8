"""What the connections of a listener have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rolltrace_proxy.http1.interface import Request

if TYPE_CHECKING:
    from rolltrace_proxy.http1.connection import Connection

Handler = Callable[[Request], Coroutine[object, object, None]]


@dataclass(slots=True)
class Common:
    """Times in seconds.

    `keep_alive`: without a request, or without a byte taken of an answer that is all written;
    `header_timeout`: from a header's first byte to its last; `linger`: for an agent to take the end of its
    last answer. `date` is that of now.
    """

    handle: Handler
    max_header_size: int
    keep_alive: float = 75.0
    header_timeout: float = 60.0
    linger: float = 10.0
    date: str = ""
    draining: bool = False
    connections: set[Connection] = field(default_factory=lambda: set["Connection"]())
    all_gone: asyncio.Event = field(default_factory=asyncio.Event)
