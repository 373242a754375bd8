"""Where things are reached: the proxy, an agent's base URL, a worker."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from rolltrace_settings.settings import Settings
from rolltrace_store.errors import InvalidArgumentError

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_API = "/v1"


def authority(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def local_proxy_url(settings: Settings) -> str:
    """Where this machine reaches the proxy."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://{authority(host, settings.port)}"


def proxy_url(settings: Settings) -> str:
    """Where agents reach the proxy."""
    return settings.public_url.rstrip("/") or local_proxy_url(settings)


def base_url(proxy: str, session_id: str) -> str:
    """What an agent of the session sets as its OpenAI base URL; slashes of the id stay slashes."""
    return f"{proxy}/sessions/{quote(session_id, safe='/:')}{_API}"


def take_apart(url: str, field: str = "worker.url") -> tuple[str, str]:
    """A worker's URL and the API path that it ended in, "" for none. Raises InvalidArgumentError."""
    url = url.strip().rstrip("/")
    _check_url(url, field)
    return (url.removesuffix(_API), _API) if url.endswith(_API) else (url, "")


def _check_url(url: str, field: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    else:
        if "@" in parts.netloc:
            raise InvalidArgumentError(field, f"{field} holds a password; give it as api_key")
        known = known and not (parts.query or parts.fragment or " " in url)
    if not known:
        raise InvalidArgumentError(
            field, f'{field} {url!r} is not an http or https URL such as "http://10.0.0.7:8000"'
        )


def worker_id_of(url: str) -> str:
    """host:port of a worker's URL, the port of the scheme when it has none."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
