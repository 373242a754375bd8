"""What can go wrong in the domain. Each edge has one table that maps these to its own codes."""


class StoreError(Exception):
    """The root of all. The message names the cause and, where there is one, the remedy."""


class InvalidArgumentError(StoreError):
    """A value that the contract does not allow. `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class NotFoundError(StoreError):
    """There is no such thing. `kind` is "session", "trace", "worker" or "blob", `name` its id."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}")
        self.kind = kind
        self.name = name


class AlreadyExistsError(StoreError):
    """There is one already. `kind` and `name` as in NotFoundError."""

    def __init__(self, kind: str, name: str, message: str = "") -> None:
        super().__init__(message or f"there is a {kind} {name!r} already")
        self.kind = kind
        self.name = name


class SessionDeletedError(StoreError):
    """A session of this id was deleted, and its tombstone is there still."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} was deleted")
        self.session_id = session_id


class SealedError(StoreError):
    """The session is sealed, or being sealed, and this would change it."""

    def __init__(self, session_id: str, message: str = "") -> None:
        super().__init__(message or f"session {session_id!r} is sealed")
        self.session_id = session_id


class RequestReusedError(InvalidArgumentError):
    """A request_id that was used before, for another request."""

    def __init__(self, request_id: str) -> None:
        super().__init__("request_id", f"request_id {request_id!r} was used for another request")


class StoreFullError(StoreError):
    """No room: the disk or the map is full. Nothing of the write is kept; later ones may succeed."""


def full_error(max_db_size: int) -> StoreFullError:
    """The map has no room left for what grows it."""
    return StoreFullError(
        f"the store has reached max_db_size, {max_db_size} bytes: delete sessions, or restart with more"
    )


class StoreBusyError(StoreError):
    """The queue of writes is at its limit. Try again shortly."""


class StoreClosedError(StoreError):
    """The store was closed before the write was committed."""


class CorruptError(StoreError):
    """Bytes that the schema cannot read, or a chain that is broken. `rolltrace db check` says more."""


class ForeignEnvironmentError(StoreError):
    """The path holds something else than an environment of this format version."""
