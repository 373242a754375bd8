"""How a worker's certificate is checked: against the system's roots, or against certificates of its own."""

from __future__ import annotations

import ssl
from functools import lru_cache

from rolltrace_store.errors import InvalidArgumentError

MAX_CA_SIZE = 256 << 10


def check_ca_pem(pem: str, field: str = "worker.ca_pem") -> None:
    """Raises InvalidArgumentError unless it is empty or holds certificates."""
    if len(pem) > MAX_CA_SIZE:
        raise InvalidArgumentError(field, f"{field} has more than {MAX_CA_SIZE} bytes")
    try:
        worker_context(pem)
    except (ssl.SSLError, ValueError):
        raise InvalidArgumentError(field, f"{field} holds no certificate in PEM") from None


@lru_cache(maxsize=256)
def worker_context(ca_pem: str) -> ssl.SSLContext:
    """What to check a worker by; the same object for the same certificates. "": the system's.

    Raises ssl.SSLError or ValueError for what holds no certificate.
    """
    if not ca_pem:
        return ssl.create_default_context()
    if not ca_pem.isascii():
        raise ValueError("PEM is ASCII")
    return ssl.create_default_context(cadata=ca_pem)
