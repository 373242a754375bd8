"""Who gets in: the settings that must fit together before a service listens, and the admin tokens.

Rules. Nobody listens where strangers are without saying who may come in. A token is read from its file
when it is needed, never kept in the settings, so that a file that was changed counts at the next reload.
No error holds a token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import Service, Settings

SHORTEST_TOKEN = 16
MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
RESERVED = ("rt-", "session:")
"""How a session's key and a plain session id begin, in the place where a token stands."""

_TOKEN = re.compile(r"[!-~]+")
_ADDRESSES: dict[Service, tuple[str, ...]] = {
    "proxy": ("host",),
    "control": ("control_host",),
    "up": ("host", "control_host"),
}


def check_access(settings: Settings, service: Service, places: Mapping[str, str]) -> None:
    """Raises SettingsError unless the service may start so. `places`: where each setting was given."""
    _check_tls(settings, places)
    if settings.redact and not re.fullmatch(r"[\w.]+:\w+", settings.redact):
        raise SettingsError(f"{_place('redact', places)}: {settings.redact!r} is not module:function")
    if settings.auth == "token":
        admin_tokens(settings)
        return
    for name in _ADDRESSES[service]:
        address = str(getattr(settings, name))
        if not (settings.insecure or is_loopback(address)):
            raise SettingsError(
                f"{_place(name, places)}: whoever reaches {address} could use the gateway: give --auth token "
                "and --admin-token-file FILE, or listen at 127.0.0.1, or accept it with --insecure"
            )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address. A name that is not localhost may mean anything."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def admin_tokens(settings: Settings) -> tuple[bytes, ...]:
    """The tokens that open everything; of the file, when there is one, else of the variable.

    There is at least one when `auth` is "token"; without auth there are none. Raises SettingsError.
    """
    if settings.auth == "none":
        return ()
    path = settings.admin_token_file
    place = path or "ROLLTRACE_ADMIN_TOKEN"
    lines = _read(path).split("\n") if path else [settings.admin_token]
    tokens = tuple(filter(None, (line.strip() for line in lines)))
    if not tokens and path:
        raise SettingsError(f"{path}: holds no token; make one: {MAKE_ONE}")
    if not tokens:
        raise SettingsError(
            "--auth token needs the admin token: give --admin-token-file FILE or ROLLTRACE_ADMIN_TOKEN; "
            f"to make one: {MAKE_ONE}"
        )
    for token in tokens:
        _check_token(token, place)
    return tuple(token.encode() for token in tokens)


def _check_token(token: str, place: str) -> None:
    if len(token) < SHORTEST_TOKEN:
        raise SettingsError(f"{place}: a token has at least {SHORTEST_TOKEN} characters; try: {MAKE_ONE}")
    if not _TOKEN.fullmatch(token):
        raise SettingsError(f"{place}: a token is of visible ASCII characters, without spaces")
    if token.startswith(RESERVED):
        raise SettingsError(f"{place}: a token does not begin with {' or '.join(RESERVED)}")


def _check_tls(settings: Settings, places: Mapping[str, str]) -> None:
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        given, other = "tls_cert_file", "tls_key_file"
        if settings.tls_key_file:
            given, other = other, given
        raise SettingsError(f"{_place(given, places)}: needs {other} beside it")
    if settings.tls_client_ca_file and not settings.tls_cert_file:
        raise SettingsError(
            f"{_place('tls_client_ca_file', places)}: needs tls_cert_file and tls_key_file beside it"
        )


def _place(name: str, places: Mapping[str, str]) -> str:
    return places.get(name, name)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not text in UTF-8") from None
