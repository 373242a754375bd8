"""What can go wrong, as exceptions of our own, so that nobody needs to import grpc.

Rules: every exception that leaves this package is a RolltraceError. Its message names the cause and,
where there is one, the remedy. One table maps gRPC's codes; nothing else does.
"""

from __future__ import annotations

from .cursor import Cursor
from .details import Details

NO_DETAILS = Details()


class RolltraceError(Exception):
    """The root of all. `code` is the gRPC status by name, empty when the client itself refused."""

    def __init__(self, message: str, code: str = "", details: Details = NO_DETAILS) -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.code, self.details)


class NotFound(RolltraceError):
    """There is no such session, trace, worker or blob."""

    @property
    def resource(self) -> str:
        """The name that was asked for; empty when the service did not repeat it."""
        return self.details.resource


class AlreadyExists(RolltraceError):
    """The name is taken."""

    @property
    def resource(self) -> str:
        return self.details.resource


class InvalidArgument(RolltraceError):
    """A value that the service, or the client on its behalf, does not take."""

    @property
    def field(self) -> str:
        """The path of the field, e.g. "session.session_id"; empty when unknown."""
        return self.details.field


class FailedPrecondition(RolltraceError):
    """The state of what was asked for does not allow it. `reason` is SESSION_SEALED for a sealed session."""

    @property
    def reason(self) -> str:
        return self.details.reason


class CursorError(RolltraceError):
    """A subscription cannot start at its cursor.

    `reason` is CURSOR_EPOCH (the log is another one), CURSOR_COMPACTED (events after the cursor are
    gone) or CURSOR_AHEAD (the log has not come so far).
    """

    @property
    def reason(self) -> str:
        return self.details.reason

    @property
    def earliest(self) -> Cursor | None:
        """Where the log begins now: subscribe after it to read all that is left. None when not told."""
        facts = self.details.metadata
        first = facts.get("earliest_sequence", "")
        if not first.isdecimal():
            return None
        return Cursor(facts.get("epoch", ""), max(int(first) - 1, 0))


class Unavailable(RolltraceError):
    """The service could not be reached, or is on its way down. The client has tried again already."""


class DeadlineExceeded(RolltraceError):
    """No answer in time."""


class ResourceExhausted(RolltraceError):
    """A limit was reached."""


class Unauthenticated(RolltraceError):
    """The service asks for the admin token, and was given none, or another."""


class PermissionDenied(RolltraceError):
    """The token is one that does not open this, as a session's key."""


class Closed(RolltraceError):
    """The client was used after close()."""


class UnreadableBody(RolltraceError, ValueError):
    """A recorded body is not JSON, as after an error of the worker; its bytes are there as they came."""


_CLASSES: dict[str, type[RolltraceError]] = {
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "INVALID_ARGUMENT": InvalidArgument,
    "FAILED_PRECONDITION": FailedPrecondition,
    "OUT_OF_RANGE": CursorError,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "RESOURCE_EXHAUSTED": ResourceExhausted,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
}


def from_status(code: str, message: str, details: Details, target: str) -> RolltraceError:
    """The exception for a gRPC status by name, as it came from the service at `target` or from gRPC."""
    kind = _CLASSES.get(code, RolltraceError)
    if details.reason.startswith("CURSOR_"):
        kind = CursorError
    return kind(_words(code, message, details, target), code, details)


def _words(code: str, message: str, details: Details, target: str) -> str:
    if code == "UNAVAILABLE" and details == NO_DETAILS:  # gRPC's own words, not the service's
        return f"no control service at {target}: is `rolltrace up` running{_or_tls(message)}? ({message})"
    if code == "UNAUTHENTICATED":
        return f"{message}: give `token`, ROLLTRACE_ADMIN_TOKEN or, to a command, --token-file"
    if code == "DEADLINE_EXCEEDED" and details == NO_DETAILS:
        return f"the control service at {target} did not answer in time: give a longer timeout"
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in message:
        return f"an answer is too large ({message}): raise max_message_bytes of the client"
    if code == "UNIMPLEMENTED":
        return f"{target} does not offer this call: is it a control service, and as new as this client?"
    return message or f"the control service at {target} answered {code}"


def _or_tls(message: str) -> str:
    """A service that hangs up at once is there: one side alone speaks TLS, or a certificate is missing."""
    cut_off = any(words in message for words in ("Socket closed", "SSL", "handshak", "Connection reset"))
    return ", and do `tls` (--tls-ca-file, --tls-cert-file) and its certificate fit" if cut_off else ""


def invalid(field: str, message: str) -> InvalidArgument:
    """What the client refuses before it asks anybody."""
    return InvalidArgument(f"{field}: {message}", "", Details(field=field))
