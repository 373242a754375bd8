"""How the client gets in: the admin token, and TLS.

Rules. A token is given, or comes from ROLLTRACE_ADMIN_TOKEN; it is in no message and no repr. It is sent as
metadata of each call, so that it works with and without TLS.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import invalid

if TYPE_CHECKING:
    import grpc

TOKEN_VARIABLE = "ROLLTRACE_ADMIN_TOKEN"

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """An encrypted connection; the fields are paths of PEM files.

    `ca_file`: what the service's certificate must descend from, instead of gRPC's own roots. `cert_file` and
    `key_file`: the client's own certificate, when the service asks for one. `server_name`: the name in the
    service's certificate, when it is not that of the target.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises InvalidArgument when a file cannot be read, or one of a pair is missing."""
        import grpc

        if bool(self.cert_file) != bool(self.key_file):
            raise invalid("tls", "cert_file and key_file belong together: give both")
        ca, key, certificate = (_read(path) for path in (self.ca_file, self.key_file, self.cert_file))
        return grpc.ssl_channel_credentials(ca, key, certificate)


def credentials(tls: Tls | bool, given: grpc.ChannelCredentials | None) -> grpc.ChannelCredentials | None:
    """The channel's credentials; None for a connection that is not encrypted."""
    if not tls:
        return given
    if given is not None:
        raise invalid("tls", "credentials are given too: give one of them")
    return (Tls() if tls is True else tls).credentials()


def options(tls: Tls | bool) -> list[tuple[str, str | int]]:
    name = tls.server_name if isinstance(tls, Tls) else ""
    return [("grpc.ssl_target_name_override", name)] if name else []


def metadata(token: str | None) -> Metadata:
    """What each call carries; of None, the token of the environment. Raises InvalidArgument."""
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise invalid("token", "holds what no token holds: give visible ASCII characters")
    return (("authorization", f"Bearer {token}"),) if token else ()


def token_of_file(path: str) -> str:
    """The first token of a file, as the service reads it. Raises InvalidArgument."""
    lines = [line.strip() for line in text_of_file(path).split("\n")]
    found = next((line for line in lines if line), "")
    if not found:
        raise invalid("token", f"{path} holds no token")
    return found


def text_of_file(path: str) -> str:
    """What stands in a file of ASCII; "" for no path. Raises InvalidArgument."""
    try:
        return (_read(path) or b"").decode("ascii")
    except UnicodeDecodeError:
        raise invalid("file", f"{path} is not text in ASCII") from None


def _read(path: str) -> bytes | None:
    if not path:
        return None
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise invalid("file", f"{path} cannot be read: {error.strerror}") from None
