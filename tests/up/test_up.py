"""`rolltrace up` before anything starts: what it refuses, what it hands to its children, what it prints."""

from __future__ import annotations

import argparse
import asyncio
import socket
from pathlib import Path

import grpc
import pytest

from rolltrace_client import services
from rolltrace_client.commands import up
from rolltrace_client.probes import control_is_healthy, proxy_is_healthy
from rolltrace_settings.load import resolve
from rolltrace_settings.settings import Settings, WorkerSetting


def test_a_taken_port_is_said_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert up.up(["--control-port", str(port), "--port", "0", "--db-path", str(tmp_path / "db")]) == 1
    assert capsys.readouterr().err == (
        f"rolltrace up: 127.0.0.1:{port} is taken; stop what listens there, "
        "or choose another port with --control-port\n"
    )
    assert not (tmp_path / "db").exists()


def test_port_0_becomes_a_free_one() -> None:
    settings = up.with_free_ports(Settings(port=0, control_port=0))
    assert settings.port > 0
    assert settings.control_port > 0


def test_an_address_that_is_not_here() -> None:
    with pytest.raises(up.CannotStart, match=r"^cannot listen on 192\.0\.2\.1:0: "):
        up.free_port("192.0.2.1", 0, "port")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    up.require_services()
    monkeypatch.setattr(services, "SERVER_MODULES", ("lmdb", "no_such_module"))
    with pytest.raises(up.CannotStart, match=r"\(no no_such_module\): pip install 'rolltrace\[server\]'$"):
        up.require_services()
    for script in (services.proxy, services.control):
        with pytest.raises(
            SystemExit, match=rf"^rolltrace-{script.__name__}: the services are not installed"
        ):
            script()


def test_children_get_what_was_resolved_and_nothing_else() -> None:
    inherited = {"PATH": "/bin", "ROLLTRACE_CONFIG": "x", "RLLM_GATEWAY_PORT": "1"}
    settings = Settings(port=1234, proxies=2, workers=(WorkerSetting("http://a:1", api_key="k"),))
    control, *proxies = up.children(settings, inherited, "/metrics")
    assert [child.name for child in proxies] == ["proxy 1", "proxy 2"]
    assert all(proxy.stage < control.stage for proxy in proxies)
    for child in (control, *proxies):
        assert resolve([], child.environment, service="proxy") == settings
        assert child.environment["PATH"] == "/bin"
        assert child.environment["PROMETHEUS_MULTIPROC_DIR"] == "/metrics"
        assert not {"ROLLTRACE_CONFIG", "RLLM_GATEWAY_PORT"} & set(child.environment)


def test_one_proxy_needs_no_shared_metrics() -> None:
    control, proxy = up.children(Settings(), {}, None)
    assert proxy.name == "proxy"
    assert "PROMETHEUS_MULTIPROC_DIR" not in control.environment


def test_a_dead_proxy_has_nothing_in_flight(tmp_path: Path) -> None:
    for name in ("gauge_livesum_7.db", "gauge_livesum_77.db", "counter_7.db"):
        (tmp_path / name).touch()
    up.forget_gauges(str(tmp_path), 7)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_7.db", "gauge_livesum_77.db"]


def test_the_block_names_what_each_user_needs() -> None:
    workers = (WorkerSetting("http://a:1", api_key="sk-secret"), WorkerSetting("http://b:2"))
    shown = up.summary(Settings(port=1234, control_port=1235, db_path="d", workers=workers))
    for expected in (
        "base_url = http://127.0.0.1:1234/sessions/SESSION_ID/v1",
        "127.0.0.1:1235",
        "http://a:1\n",
        "http://b:2\n",
        str(Path("d").resolve()),
    ):
        assert expected in shown
    assert "sk-secret" not in shown
    assert "base_url = http://[::1]:9090/" in up.summary(Settings(host="::"))
    assert "base_url = https://lb.example/sessions" in up.summary(Settings(public_url="https://lb.example"))
    assert "rolltrace workers add URL" in up.summary(Settings())


def test_its_arguments_reach_the_settings_untouched() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control")
    up.register(parser.add_subparsers())
    arguments = parser.parse_args(["up", "--port", "1", "--help", "--control-port=2"])
    assert arguments.settings == ["--port", "1", "--help", "--control-port=2"]
    assert arguments.run is up.run


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not await proxy_is_healthy("127.0.0.1", port)
    assert not await control_is_healthy("127.0.0.1", port)


@pytest.mark.parametrize(("serving", "healthy"), [(True, True), (False, False)])
async def test_the_standard_health_check_is_understood(serving: bool, healthy: bool) -> None:
    health = pytest.importorskip("grpc_health.v1.health")
    health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
    servicer = health.aio.HealthServicer()
    status = health_pb2.HealthCheckResponse
    await servicer.set("", status.SERVING if serving else status.NOT_SERVING)
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await control_is_healthy("127.0.0.1", port) is healthy
    finally:
        await server.stop(None)


@pytest.mark.parametrize(("answer", "healthy"), [(b"200 OK", True), (b"503 Busy", False)])
async def test_the_proxys_health_is_its_status(answer: bytes, healthy: bool) -> None:

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + answer + b"\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await proxy_is_healthy("127.0.0.1", port) is healthy
