"""What a call sees of HTTP: a request to be answered, and a worker's response to be read.

Rules. A field is a name and a value as they came, in their order; bytes beyond ASCII are kept by
surrogateescape. Whoever writes may be made to wait while the other side reads slowly. Nothing here knows of
sessions, traces or workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Fields = Sequence[tuple[str, str]]


class BodyTooLargeError(Exception):
    """A request's body has more bytes than may be read."""


class BodyBrokenError(Exception):
    """A request's body is not framed as HTTP asks for; the message says how."""


class Request(Protocol):
    """An agent's request. It is answered once: by `reply`, or by `begin`, `write` ... and `end`.

    When its agent goes away, the task that handles it is cancelled; a write after that raises
    ConnectionResetError.
    """

    @property
    def method(self) -> str: ...

    @property
    def target(self) -> str:
        """The request target as it came (RFC 9112, 3.2)."""
        ...

    @property
    def fields(self) -> Fields: ...

    @property
    def status(self) -> int:
        """Of the answer that has begun; 0 before."""
        ...

    def field(self, name: str) -> str | None:
        """The first value of the field with this lower-case name."""
        ...

    async def body(self, most: int) -> bytes:
        """All of the body; tells an agent to go on that waits for that. Raises BodyTooLargeError when it has
        more than `most` bytes, BodyBrokenError."""
        ...

    async def begin(self, status: int, reason: str, fields: Fields) -> None:
        """Sends the header of an answer that comes piece by piece, of the length that `fields` give or else
        in chunks (to an HTTP/1.0 agent: until the connection ends)."""
        ...

    async def write(self, data: bytes) -> None:
        """Sends a piece that is not empty."""
        ...

    def put(self, data: bytes) -> bool:
        """As `write`, but never waits: tells whether the agent keeps up. If not, wait for `drained`."""
        ...

    async def drained(self) -> None:
        """Returns once the agent keeps up. Raises ConnectionResetError."""
        ...

    async def end(self, data: bytes = b"") -> None:
        """Sends the last piece and ends the answer."""
        ...

    async def reply(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        """Sends a whole answer; its content-length is set here."""
        ...

    def close_after(self) -> None:
        """What follows on the connection is not to be read as another request."""
        ...

    def break_off(self) -> None:
        """Closes the connection, so that an answer that has begun is seen to have no end."""
        ...


class Response(Protocol):
    """A worker's answer whose header is there."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def fields(self) -> Fields: ...

    async def read(self) -> bytes:
        """The next bytes of the body, all that came since; none at its end.

        Raises Refused, with a fault of the worker, once all that came before has been read.
        """
        ...

    async def each(self, take: Callable[[bytes], bool]) -> None:
        """Hands every piece to `take` in the moment it comes, with no turn of a task between, until `take`
        returns False, or raises, which is raised here, or nothing more comes.

        Returns at once when something can be read now. What it left, and the end, is for `read`.
        """
        ...

    def close(self) -> None:
        """Lets go of it. A connection whose response was not read to its end is closed, which tells the
        worker to stop."""
        ...
