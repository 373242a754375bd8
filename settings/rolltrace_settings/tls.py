"""The services' own certificate: read, checked, and read again while they run. Standard library alone.

Rules. A certificate, key or CA is tried before it is used: what cannot be used is a SettingsError that names
the file, and leaves what was used before as it is. No error holds what stands in a key's file.
"""

from __future__ import annotations

import ssl

from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import Settings


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """The proxy's side of TLS, 1.2 or later; None without a certificate. Raises SettingsError."""
    if not settings.tls_cert_file:
        return None
    context = _empty()
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings)
    return context


def reload_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Reads the files again, for the connections to come. Raises SettingsError, and changes nothing then."""
    _load(_empty(), settings)  # to load a pair that does not fit would spoil a context in use
    _load(context, settings)


def server_pem(settings: Settings) -> tuple[bytes, bytes, bytes | None]:
    """The control service's key, certificate chain and, for mutual TLS, CA, as gRPC takes them.

    Raises SettingsError when they could not be used.
    """
    context = _empty()
    _load(context, settings)
    client_ca = _read(settings.tls_client_ca_file) if settings.tls_client_ca_file else None
    if client_ca is not None:
        check_ca(client_ca, settings.tls_client_ca_file)
    return _read(settings.tls_key_file), _read(settings.tls_cert_file), client_ca


def read_ca(path: str) -> str:
    """The certificates that a worker's must descend from, PEM; "" for no path. Raises SettingsError."""
    if not path:
        return ""
    pem = _read(path)
    check_ca(pem, path)
    return pem.decode("ascii")


def check_ca(pem: bytes, path: str) -> None:
    """Raises SettingsError unless it holds a certificate."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise SettingsError(f"{path}: holds no certificate in PEM") from None


def _empty() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    for path in (certificate, key):
        _read(path)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or "not PEM, or a key with a password"
        words = str(why).replace("_", " ").lower()
        raise SettingsError(f"{certificate} and {key} cannot be used together: {words}") from None


def _no_password() -> str:
    """Asked for an encrypted key: nobody sits at the terminal of a service."""
    raise ValueError("the key has a password")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
