"""Certificates for tests: an authority, and what it signs, as files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of PEM files, as settings take them."""

    cert: str
    key: str

    def read(self) -> tuple[bytes, bytes]:
        return Path(self.cert).read_bytes(), Path(self.key).read_bytes()

    def write(self, cert: bytes, key: bytes) -> None:
        Path(self.cert).write_bytes(cert)
        Path(self.key).write_bytes(key)


class Authority:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.pem = self._ca.cert_pem.bytes().decode()
        (folder / "ca.pem").write_text(self.pem)

    def issue(self, name: str = "server", *identities: str) -> Files:
        """A certificate for these names; without any, for 127.0.0.1 and localhost."""
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        made = self._ca.issue_cert(*(identities or ("127.0.0.1", "localhost")))
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        return Files(str(cert), str(key))

    def trusted(self) -> ssl.SSLContext:
        """For clients that trust this authority alone."""
        return ssl.create_default_context(cafile=self.ca_file)


def server_context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    return context
