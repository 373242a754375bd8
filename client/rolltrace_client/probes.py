"""Is a service up? Asked as an operator would: HTTP /health of the proxy, gRPC health of the control."""

from __future__ import annotations

import asyncio
import ssl

from .health_frames import CHECK, serving

TIMEOUT = 2.0


def authority(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _any_certificate() -> ssl.SSLContext:
    """For a service of this machine, whose certificate bears another name; nothing secret is said to it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def proxy_is_healthy(host: str, port: int, *, tls: bool = False) -> bool:
    """Whether GET /health answers 200."""
    try:
        async with asyncio.timeout(TIMEOUT):
            encrypted = _any_certificate() if tls else None
            reader, writer = await asyncio.open_connection(host, port, ssl=encrypted)
            try:
                asked = f"GET /health HTTP/1.1\r\nHost: {authority(host, port)}\r\nConnection: close\r\n\r\n"
                writer.write(asked.encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    return status_line.split()[1:2] == [b"200"]


async def control_is_healthy(host: str, port: int, *, tls: bool = False) -> bool:
    """Whether the standard health check says SERVING; with TLS, whether gRPC shakes hands.

    gRPC checks the certificate's name in any case, and may ask for one of ours.
    """
    return await (_speaks_grpc(host, port) if tls else _is_serving(host, port))


async def _is_serving(host: str, port: int) -> bool:
    received = b""
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(CHECK)
                while (answer := serving(received)) is None:
                    more = await reader.read(4096)
                    if not more:
                        return False
                    received += more
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return answer


async def _speaks_grpc(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=_any_certificate())
            session: ssl.SSLObject = writer.get_extra_info("ssl_object")
            writer.close()
            return session.selected_alpn_protocol() == "h2"
    except (OSError, TimeoutError, ValueError):
        return False
