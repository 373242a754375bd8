"""What stands between the network and the services: the certificate, and who may call. A shell."""

from __future__ import annotations

import logging

import grpc
import grpc.aio

from rolltrace_control.access import Access
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import Settings
from rolltrace_settings.tls import server_pem

log = logging.getLogger(__name__)


class Edge:
    """TLS 1.2 or later, mutual when there is a CA of the clients. Raises SettingsError when made.

    `secret` is the environment's; see ReadView.secret.
    """

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self.secret = secret
        self.access = Access(settings, secret)
        self._settings = settings
        self._certificate = self._read() if settings.tls_cert_file else None

    def bind(self, server: grpc.aio.Server, address: str) -> int:
        """The bound port, or 0; raises RuntimeError when gRPC does."""
        if self._certificate is None:
            return server.add_insecure_port(address)
        mutual = bool(self._settings.tls_client_ca_file)
        credentials = grpc.dynamic_ssl_server_credentials(self._certificate, self._current, mutual)
        return server.add_secure_port(address, credentials)

    def reload(self) -> None:
        """Reads the admin tokens and the certificate again. What cannot be used leaves the old in use."""
        try:
            certificate = self._read() if self._certificate is not None else None
            self.access.reload()
        except SettingsError as error:
            log.error("not reloaded, the old certificate and tokens stay: %s", error)
        else:
            self._certificate = certificate
            log.info("certificate and tokens are reloaded")

    def _current(self) -> grpc.ServerCertificateConfiguration:
        """Asked by gRPC, in a thread of its own, before each handshake."""
        assert self._certificate is not None
        return self._certificate

    def _read(self) -> grpc.ServerCertificateConfiguration:
        key, chain, client_ca = server_pem(self._settings)
        return grpc.ssl_server_certificate_configuration([(key, chain)], client_ca)
