"""Where things are reached: the proxy, and an agent's base URL."""

from __future__ import annotations

from urllib.parse import quote

from rolltrace_settings.settings import Settings

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_API = "/v1"


def authority(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_proxy_url(settings: Settings) -> str:
    """Where this machine reaches the proxy."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    scheme = "https" if settings.tls_cert_file else "http"
    return f"{scheme}://{authority(host, settings.port)}"


def proxy_url(settings: Settings) -> str:
    """Where agents reach the proxy."""
    return settings.public_url.rstrip("/") or local_proxy_url(settings)


def base_url(proxy: str, session_id: str) -> str:
    """What an agent of the session sets as its OpenAI base URL; slashes of the id stay slashes."""
    return f"{proxy}/sessions/{quote(session_id, safe='/:')}{_API}"
