"""Who may do what at the HTTP edge, decided from a request's header fields. No I/O.

Rules. A key is what `Authorization: Bearer` carries or, when there is no Authorization, `x-api-key`, where
SDKs of Anthropic put it; two fields of one name are nobody's key. Keys are compared in constant time, and
no message repeats one. A session's key opens the paths of that session alone, and names it where the path
does not; the admin token opens everything. What an agent gave to get in goes no further: neither to a
worker nor, since nothing of a header is recorded, into the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hmac import compare_digest

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.headers import CREDENTIALS
from rolltrace_proxy.http1.interface import Fields
from rolltrace_proxy.paths import Target
from rolltrace_settings.settings import Settings
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.names import check_session_id
from rolltrace_store.session_key import PREFIX, session_of_key

PLAIN = "session:"
"""Before a session id that stands in place of a key, where no keys are asked for."""
DENIALS = frozenset({Fault.AMBIGUOUS_KEY, Fault.INVALID_API_KEY, Fault.PERMISSION_DENIED})

_KEYS = ("authorization", "x-api-key")
_NO_NAME = (
    "What stands behind `session:` in the API key is no session id: 1 to 400 bytes of text in UTF-8, without "
    'control characters and without an empty, ".", ".." or "v1" segment.'
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose key it was: that of one session, or the admin's."""

    session_id: str
    is_admin: bool = False


class Access:
    """What the fields of a request allow. `tokens` may be replaced while calls run. `forwards`: agents'
    credentials may reach workers, but for our own keys."""

    def __init__(self, tokens: Sequence[bytes], secret: bytes, settings: Settings) -> None:
        self.tokens = tokens
        self._secret = secret
        self._required = settings.auth == "token"
        self.forwards = settings.forward_authorization

    def admit(self, fields: Fields, target: Target) -> Target:
        """The target of a call that is allowed, with the session that its key names. Raises Refused."""
        holder = self._holder(fields)
        if holder is None or holder.is_admin or holder.session_id == target.session_id:
            return target
        if target.session_id:
            raise Refused(Fault.PERMISSION_DENIED, "The API key is that of another session.")
        return replace(target, session_id=holder.session_id)

    def admit_admin(self, fields: Fields) -> None:
        """Raises Refused unless the request may see what is not of one session."""
        holder = self._holder(fields)
        if self._required and holder is not None and not holder.is_admin:
            raise Refused(Fault.PERMISSION_DENIED, "A session's key opens that session alone.")

    def forwarded(self, fields: Fields) -> list[tuple[str, str]]:
        """The fields without an agent's credentials; with all but our own keys, if it was told so."""
        return [(name, value) for name, value in fields if self._passes(name.lower(), value)]

    def _passes(self, name: str, value: str) -> bool:
        if name not in CREDENTIALS:
            return True
        key = _bearer(value) if name == "authorization" else value.strip()
        return self.forwards and not (key.startswith((PREFIX, PLAIN)) or self._is_admin(key))

    def _holder(self, fields: Fields) -> Holder | None:
        """Whose key the request has; None for nobody's, where that is allowed. Raises Refused."""
        key = _key(fields)
        if self._is_admin(key):
            return Holder("", is_admin=True)
        session_id = session_of_key(self._secret, key)
        if session_id is not None:
            return Holder(session_id)
        if not self._required and key.startswith(PLAIN):
            return Holder(_plain(key))
        if self._required or key.startswith(PREFIX):
            raise Refused(Fault.INVALID_API_KEY, _why_not(key))
        return None

    def _is_admin(self, key: str) -> bool:
        if not self.tokens:
            return False
        given = key.encode("utf-8", "surrogateescape")
        return any([compare_digest(given, token) for token in self.tokens])  # noqa: C419  # each one, whatever the first says


def _key(fields: Fields) -> str:
    """The key that the fields carry; "" for none. Raises Refused when it is not one."""
    given = [(lower, value) for name, value in fields if (lower := name.lower()) in _KEYS]
    for name in _KEYS if given else ():
        values = [value for each, value in given if each == name]
        if len(values) > 1:
            raise Refused(Fault.AMBIGUOUS_KEY, f"The request has {len(values)} {name} fields; send one.")
        if values:
            return _bearer(values[0]) if name == "authorization" else values[0].strip()
    return ""


def _bearer(value: str) -> str:
    """The token of a field's value (RFC 6750, 2.1); "" of another scheme."""
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _plain(key: str) -> str:
    session_id = key.removeprefix(PLAIN)
    try:
        check_session_id(session_id)
    except InvalidArgumentError:
        raise Refused(Fault.INVALID_SESSION_ID, _NO_NAME) from None
    return session_id


def _why_not(key: str) -> str:
    if not key:
        return "This gateway asks for a key: send the session's api_key as `Authorization: Bearer KEY`."
    return "The API key is not one of this gateway's: send the session's api_key, or the admin token."
