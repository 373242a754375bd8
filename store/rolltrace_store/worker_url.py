"""A worker's URL: what it may be, and which worker it names. One rule for both services."""

from __future__ import annotations

from urllib.parse import urlsplit

from rolltrace_store.errors import InvalidArgumentError

_API = "/v1"


def take_apart(url: str, field: str = "worker.url") -> tuple[str, str]:
    """A worker's URL and the API path that it ended in, "" for none. Raises InvalidArgumentError."""
    _check_url(url.strip(), field)
    url = url.strip().rstrip("/")
    return (url.removesuffix(_API), _API) if urlsplit(url).path.endswith(_API) else (url, "")


def _check_url(url: str, field: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    else:
        if "@" in parts.netloc:
            raise InvalidArgumentError(field, f"{field} holds a password; give it as api_key")
        known = known and not (parts.query or parts.fragment or " " in url) and url.isprintable()
    if not known:
        raise InvalidArgumentError(
            field, f'{field} {url!r} is not an http or https URL such as "http://10.0.0.7:8000"'
        )


def worker_id_of(url: str) -> str:
    """host:port of a worker's URL, the port of the scheme when it has none."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
