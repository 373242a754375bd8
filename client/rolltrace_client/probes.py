"""Is a service up? Asked as an operator would: HTTP /health of the proxy, gRPC health of the control."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

TIMEOUT = 2.0
# grpc.health.v1: an empty HealthCheckRequest asks for the whole server; field 1 of the answer, 1, is SERVING.
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


def authority(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def proxy_is_healthy(host: str, port: int) -> bool:
    """Whether GET /health answers 200."""
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
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


async def control_is_healthy(host: str, port: int) -> bool:
    """Whether the standard health check says SERVING."""
    try:
        async with grpc.aio.insecure_channel(
            authority(host, port), options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH_CHECK)
            return await check(b"", timeout=TIMEOUT) == SERVING
    except grpc.RpcError:
        return False
