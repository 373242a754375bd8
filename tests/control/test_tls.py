"""The control service's certificate, the clients' own, and how they change while it runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from rolltrace.v1.worker_pb2 import WORKER_HEALTH_HEALTHY, WORKER_HEALTH_UNHEALTHY, Worker
from rolltrace_client import AsyncClient, InvalidArgument, Tls, Unavailable
from rolltrace_client.probes import control_is_healthy
from rolltrace_control.edge import Edge
from rolltrace_control.server import serve
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import Settings
from rolltrace_store import Store
from tests.certificates import Authority, Files, server_context
from tests.control.conftest import SETTINGS
from tests.proxy.scripted import Reply, scripted


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def encrypted(files: Files, client_ca: str = "") -> Settings:
    return replace(SETTINGS, tls_cert_file=files.cert, tls_key_file=files.key, tls_client_ca_file=client_ca)


async def answers(port: int, tls: Tls | bool) -> bool:
    async with AsyncClient(f"127.0.0.1:{port}", tls=tls, timeout=5.0, retry_for=0.0) as client:
        try:
            await client.status()
        except Unavailable:
            return False
        return True


async def test_a_certificate_is_read_again(
    store: Store, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    other, files = Authority(tmp_path / "other"), authority.issue()
    settings = encrypted(files)
    edge = Edge(settings, await store.read(lambda view: view.secret()))
    old, new = Tls(authority.ca_file), Tls(other.ca_file)
    async with serve(settings, store, edge) as port:
        assert await answers(port, old)
        assert not await answers(port, new)
        assert not await answers(port, False)
        certificate, key = files.read()
        for spoiled in ((certificate, b""), (b"nonsense", key), (other.issue().read()[0], key)):
            files.write(*spoiled)
            edge.reload()
            assert await answers(port, old)
        assert caplog.text.count("not reloaded, the old certificate and tokens stay: ") == 3
        assert key not in caplog.text.encode()
        files.write(*other.issue().read())
        edge.reload()
        assert await answers(port, new)
        assert not await answers(port, old)


async def test_only_clients_of_the_ca_get_in(store: Store, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    mine, foreign = authority.issue("client", "trainer"), other.issue("client", "trainer")
    async with serve(encrypted(authority.issue(), authority.ca_file), store) as port:
        assert await answers(port, Tls(authority.ca_file, mine.cert, mine.key))
        assert not await answers(port, Tls(authority.ca_file))
        assert not await answers(port, Tls(authority.ca_file, foreign.cert, foreign.key))
        assert await control_is_healthy("127.0.0.1", port, tls=True)


async def test_the_probe_tells_whether_grpc_is_spoken(store: Store, authority: Authority) -> None:
    async with serve(SETTINGS, store) as port:
        assert not await control_is_healthy("127.0.0.1", port, tls=True)
    async with scripted(Reply(), server_context(authority.issue())) as http:
        assert not await control_is_healthy("127.0.0.1", int(http.url.rpartition(":")[2]), tls=True)


async def test_a_name_that_is_not_the_targets(store: Store, authority: Authority) -> None:
    async with serve(encrypted(authority.issue("named", "gateway.example")), store) as port:
        assert not await answers(port, Tls(authority.ca_file))
        assert await answers(port, Tls(authority.ca_file, server_name="gateway.example"))


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue()
    with pytest.raises(SettingsError, match="holds no certificate in PEM"):
        Edge(encrypted(files, files.key), bytes(32))
    with pytest.raises(SettingsError, match="none: cannot be read"):
        Edge(encrypted(files, str(tmp_path / "none")), bytes(32))
    with pytest.raises(InvalidArgument, match="cert_file and key_file belong together"):
        AsyncClient(tls=Tls(cert_file=files.cert))
    with pytest.raises(InvalidArgument, match="none cannot be read"):
        AsyncClient(tls=Tls(str(tmp_path / "none")))


async def test_a_workers_ca_over_grpc(
    store: Store, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = replace(SETTINGS, health_interval=0.05)
    async with scripted(Reply(), server_context(authority.issue())) as worker:
        async with serve(settings, store) as port, AsyncClient(f"127.0.0.1:{port}") as client:
            await client.register_worker(worker.url, worker_id="trusted", ca_pem=authority.pem)
            await client.register_worker(worker.url, worker_id="unknown")
            for name, health in (("trusted", WORKER_HEALTH_HEALTHY), ("unknown", WORKER_HEALTH_UNHEALTHY)):
                assert (await settled(store, name, health)).health == health
            await client.update_worker("unknown", ca_pem=authority.pem)
            await settled(store, "unknown", WORKER_HEALTH_HEALTHY)
            for wrong in ("nonsense", "é", authority.pem * 1000):
                with pytest.raises(InvalidArgument, match=r"worker\.ca_pem"):
                    await client.register_worker("https://h:1", ca_pem=wrong)
            with pytest.raises(InvalidArgument, match=r"worker\.api_key") as raised:
                await client.register_worker("https://h:1", api_key="a\nb-secret")
            assert "secret" not in str(raised.value)
    assert "BEGIN CERTIFICATE" not in caplog.text


async def settled(store: Store, worker_id: str, health: int) -> Worker:
    """The worker, as soon as it has this health."""
    head = 0
    while True:
        worker = await store.read(lambda view: view.worker(worker_id))
        assert worker is not None
        if worker.health == health:
            return worker
        head = await store.wait(head, 30.0)
