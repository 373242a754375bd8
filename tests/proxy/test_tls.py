"""The proxy's certificate and the workers': what is spoken, what is trusted, and how they change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientConnectorCertificateError, ClientConnectorSSLError

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1 import worker_pb2
from rolltrace_proxy.server import Proxy, serve
from rolltrace_proxy.workers import add_configured
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import WorkerSetting
from rolltrace_store.interface import Store
from tests.certificates import Authority, server_context
from tests.proxy.answers import chat_answer, chat_chunks
from tests.proxy.gateway import CHAT, gateway, put, row, with_settings
from tests.proxy.scripted import DONE, Reply, events, scripted, whole


async def test_a_call_over_tls_and_a_certificate_that_changes(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    files = old.issue()
    settings = with_settings(tls_cert_file=files.cert, tls_key_file=files.key)
    async with (
        scripted(events(*chat_chunks(), DONE)) as worker,
        gateway(store, worker, settings=settings) as gate,
    ):

        async def call(authority: Authority) -> bytes:
            connector = aiohttp.TCPConnector(ssl=authority.trusted())
            async with aiohttp.ClientSession(connector=connector) as http:
                async with http.post(gate.url(), json={**CHAT, "stream": True}) as response:
                    assert response.status == 200
                    return await response.read()

        assert (await call(old)).endswith(DONE)
        with pytest.raises(ClientConnectorCertificateError):
            await call(new)

        certificate, key = files.read()
        for spoiled in ((certificate, b""), (b"nonsense", key), (new.issue().read()[0], key)):
            files.write(*spoiled)
            gate.proxy.reload()
            assert (await call(old)).endswith(DONE), "a bad pair spoiled the good one"
        assert caplog.text.count("not reloaded, the old certificate and tokens stay: ") == 3
        assert files.key in caplog.text
        assert "PRIVATE KEY" not in caplog.text
        assert key not in caplog.text.encode()
        assert certificate not in caplog.text.encode()

        files.write(*new.issue("renewed").read())
        gate.proxy.reload()
        assert (await call(new)).endswith(DONE)
        with pytest.raises(ClientConnectorCertificateError):
            await call(old)
        assert [trace.status for trace in await gate.traces()] == [pb.CALL_STATUS_COMPLETED] * 5


async def test_what_is_older_than_tls_1_2_or_not_tls_is_not_spoken(store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    files = authority.issue()
    settings = with_settings(tls_cert_file=files.cert, tls_key_file=files.key)
    async with aiohttp.ClientSession() as http, serve(settings, store) as proxy:
        dated = authority.trusted()
        dated.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            dated.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ClientConnectorSSLError):
            await http.get(proxy.url + "/health", ssl=dated)
        with pytest.raises(aiohttp.ClientError):
            await http.get(proxy.url.replace("https", "http") + "/health")
        async with http.get(proxy.url + "/health", ssl=authority.trusted()) as response:
            assert response.status == 200


async def test_files_that_cannot_be_used(store: Store, tmp_path: Path) -> None:
    one, other = Authority(tmp_path / "a").issue(), Authority(tmp_path / "b").issue()
    nothing = str(tmp_path / "none")
    for cert, key, why in (
        (nothing, one.key, "none: cannot be read: No such file or directory"),
        (one.cert, nothing, "none: cannot be read: No such file or directory"),
        (one.cert, other.key, "cannot be used together: key values mismatch"),
        (one.key, one.key, "cannot be used together"),
    ):
        with pytest.raises(SettingsError, match=why):
            Proxy(with_settings(tls_cert_file=cert, tls_key_file=key), store)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


async def test_a_workers_certificate_is_checked_against_its_own_ca(
    store: Store, authority: Authority
) -> None:
    tls = server_context(authority.issue())
    async with scripted(whole(chat_answer()), tls) as worker:
        trusted, unknown = row(worker), row(worker)
        trusted.ca_pem = authority.pem
        unknown.worker_id = "w-2"
        async with gateway(store, unknown) as gate:
            async with gate.chat() as response:
                error = (await response.json())["error"]
                assert (response.status, error["code"]) == (502, "worker_unreachable")
                assert "certificate" in error["message"]
            await put(store, trusted)
            async with gate.chat("t") as response:
                assert response.status == 200
    assert len(worker.seen) == 1


async def test_a_worker_of_another_authority_gets_nothing(
    store: Store, authority: Authority, tmp_path: Path
) -> None:
    tls = server_context(Authority(tmp_path / "other").issue())
    async with scripted(Reply(), tls) as worker:
        mine = row(worker, api_key="sk-of-the-worker")
        mine.ca_pem = authority.pem
        async with gateway(store, mine) as gate:
            async with gate.chat() as response:
                assert response.status == 502
                assert "BEGIN CERTIFICATE" not in await response.text()
    assert not worker.seen


async def test_a_workers_ca_may_be_a_file_of_the_settings(store: Store, authority: Authority) -> None:
    await add_configured(store, [WorkerSetting("https://h:1", ca_file=authority.ca_file)])
    (worker,) = await store.read(lambda view: view.workers())
    assert worker.ca_pem == authority.pem
    assert isinstance(worker, worker_pb2.Worker)
    with pytest.raises(SettingsError, match="holds no certificate in PEM"):
        await add_configured(store, [WorkerSetting("https://h:1", ca_file=__file__)])
