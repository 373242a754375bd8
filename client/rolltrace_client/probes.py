"""Is a service up? Asked as an operator would: HTTP /health of the proxy, gRPC health of the control."""

from __future__ import annotations

import asyncio
import ssl

import grpc
import grpc.aio

TIMEOUT = 2.0
# grpc.health.v1: an empty HealthCheckRequest asks for the whole server; field 1 of the answer, 1, is SERVING.
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


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
                authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                writer.write(
                    f"GET /health HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
                )
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
    if tls:
        return await _speaks_grpc(host, port)
    try:
        async with grpc.aio.insecure_channel(
            authority(host, port), options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH_CHECK)
            return await check(b"", timeout=TIMEOUT) == SERVING
    except grpc.RpcError:
        return False


async def _speaks_grpc(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=_any_certificate())
            session: ssl.SSLObject = writer.get_extra_info("ssl_object")
            writer.close()
            return session.selected_alpn_protocol() == "h2"
    except (OSError, TimeoutError, ValueError):
        return False
