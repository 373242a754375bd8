"""`rolltrace up` with all that keeps strangers out; and what it lets out: no secret, anywhere.

Every secret is of its own, every kind of call is made, also those that fail, with the log at debug. Then all
that anybody may come to see is searched: the log, the metrics, each answer and trace, the environment's
files, and the command lines of all processes.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from rolltrace_client import AsyncClient, RolltraceError, Tls
from rolltrace_demo.worker_server import DemoWorker
from tests.certificates import Authority, Files
from tests.proxy.gateway import CHAT
from tests.servers import free_port

ADMIN = "admin-token-that-nobody-may-see"
WORKER = "worker-key-that-nobody-may-see"
AGENT = "agent-key-that-nobody-may-see"
CALL = "/sessions/s/v1/chat/completions"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Up:
    """A running `rolltrace up`, and all that was seen of it."""

    process: asyncio.subprocess.Process
    authority: Authority
    server: Files
    client: AsyncClient
    http: aiohttp.ClientSession
    url: str
    data: Path
    log: Path
    seen: list[bytes] = field(default_factory=list[bytes])

    async def ask(self, method: str, path: str, key: str, **more: object) -> int:
        headers = {**bearer(key), "X-Api-Key": AGENT, "Cookie": f"c={AGENT}"}
        async with self.http.request(method, self.url + path, headers=headers, **more) as response:  # type: ignore[arg-type]  # what aiohttp takes
            self.seen += [str(response.headers).encode(), await response.read()]
            return response.status

    async def until_logged(self, text: str, count: int) -> None:
        while self.log.read_text().count(text) < count:
            assert self.process.returncode is None, self.log.read_text()
            await asyncio.sleep(0.05)


def written(folder: Path, worker: str, authority: Authority, server: Files) -> str:
    """A configuration file with everything."""
    (folder / "token").write_text(ADMIN + "\n")
    (folder / "rolltrace.yaml").write_text(
        f"""\
auth: token
admin_token_file: {folder / "token"}
tls_cert_file: {server.cert}
tls_key_file: {server.key}
tls_client_ca_file: {authority.ca_file}
db_path: {folder / "data"}
log_level: debug
durability: process
workers:
  - {{url: "{worker}", model_name: m, api_key: {WORKER}}}
  - {{url: "https://127.0.0.1:9", model_name: dead, api_key: {WORKER}, ca_file: {authority.ca_file}}}
"""
    )
    return str(folder / "rolltrace.yaml")


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[Up, None]:
    authority = Authority(folder / "ca")
    server, trainer = authority.issue(), authority.issue("trainer", "trainer")
    port, control_port = free_port(), free_port()
    async with DemoWorker(api_key=WORKER, model="m") as worker:
        config = written(folder, worker.url, authority, server)
        command = ("up", "--config", config, "--port", str(port), "--control-port", str(control_port))
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "rolltrace_client", *command), stdout=log, stderr=log
            )
        tls = Tls(authority.ca_file, trainer.cert, trainer.key)
        connector = aiohttp.TCPConnector(ssl=authority.trusted(), force_close=True)
        client = AsyncClient(f"127.0.0.1:{control_port}", token=ADMIN, tls=tls)
        try:
            async with client, aiohttp.ClientSession(connector=connector) as http:
                url = f"https://127.0.0.1:{port}"
                up = Up(process, authority, server, client, http, url, folder / "data", folder / "log")
                await up.until_logged("is up: 1 control service", 1)
                yield up
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def test_no_secret_is_let_out(tmp_path: Path) -> None:
    async with running(tmp_path) as up:
        private = up.server.read()[1].splitlines()[2].decode()
        key = (await up.client.create_session("s")).api_key
        other = (await up.client.create_session("other")).api_key
        await calls(up, key, other)
        await failures_of_trainers(up, key)
        await up.ask("GET", "/metrics", ADMIN)
        for path in ("/health/workers", "/admin/workers", "/sessions", "/sessions/s", "/sessions/s/traces"):
            assert await up.ask("GET", path, ADMIN) == 200
        assert (await up.client.status()).proxy_healthy
        traces = [trace async for trace in up.client.list_traces("s")]
        assert {str(trace.status) for trace in traces} == {"COMPLETED", "UPSTREAM_ERROR"}
        up.seen += [trace.proto.SerializeToString() + repr(trace).encode() for trace in traces]
        up.seen += [str(up.client.connection).encode(), *command_lines()]
    up.seen.append(up.log.read_bytes())
    secrets = {ADMIN, WORKER, AGENT, key, other, private}
    assert all(len(secret) > 20 for secret in secrets)
    assert leaks(secrets, up.seen) == set()
    stored = [path.read_bytes() for path in up.data.rglob("*") if path.is_file()]
    assert leaks(secrets, stored) == {WORKER}, "a worker's key is kept, since it is sent; nothing else is"
    assert up.data.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in up.data.glob("*.mdb")} == {0o600}


def leaks(secrets: set[str], seen: list[bytes]) -> set[str]:
    return {secret for secret in secrets if any(secret.encode() in data for data in seen)}


def command_lines() -> list[bytes]:
    """Of every process of this machine that can be read."""
    found: list[bytes] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:  # it has gone
            continue
    return found


async def calls(up: Up, key: str, other: str) -> None:
    chat = {**CHAT, "max_tokens": 4}
    assert await up.ask("POST", CALL, key, json=chat) == 200
    assert await up.ask("POST", CALL, key, json={**chat, "stream": True}) == 200
    assert await up.ask("POST", "/v1/chat/completions", key, json=chat) == 200
    assert await up.ask("POST", CALL, key, json={**chat, "model": "dead"}) == 502
    assert await up.ask("POST", CALL, key, data=b"\xff not JSON") >= 400
    assert await up.ask("POST", CALL, other, json=chat) == 403
    assert await up.ask("POST", CALL, key + "x", json=chat) == 401
    assert await up.ask("POST", CALL, AGENT, json=chat) == 401
    assert await up.ask("GET", "/metrics", key) == 403
    twice = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {ADMIN}")]
    async with up.http.post(up.url + CALL, json=chat, headers=twice) as response:
        assert response.status == 400
        up.seen.append(await response.read())
    malformed = f"POST {CALL} HTTP/1.1\r\nHost: h\r\nAuthorization : Bearer {ADMIN}\r\n\r\n"
    host, port = up.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=up.authority.trusted())
    writer.write(malformed.encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()


async def failures_of_trainers(up: Up, key: str) -> None:
    async def fails(client: AsyncClient) -> None:
        with pytest.raises(RolltraceError) as raised:
            await client.register_worker("nonsense", api_key=WORKER)
        up.seen.append((str(raised.value) + repr(raised.value)).encode())

    await fails(up.client)
    target = up.client.connection.target
    trainer = Files(str(Path(up.server.cert).with_name("trainer.pem")), "")
    tls = Tls(up.authority.ca_file, trainer.cert, trainer.cert.replace(".pem", ".key"))
    for token in (ADMIN + "x", key):
        async with AsyncClient(target, token=token, tls=tls) as client:
            await fails(client)
    await up.client.register_worker("http://127.0.0.1:9", worker_id="late", api_key=WORKER)
    up.seen += [repr(worker).encode() async for worker in up.client.list_workers()]
    await up.client.deregister_worker("late")


async def test_a_hang_up_makes_every_service_read_again(tmp_path: Path) -> None:
    async with running(tmp_path) as up:
        renewed = Authority(tmp_path / "renewed")
        up.server.write(*renewed.issue().read())
        (tmp_path / "token").write_text("another-token-of-this-test\n")
        up.process.send_signal(signal.SIGHUP)
        await up.until_logged("certificate and tokens are reloaded", 2)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await up.ask("GET", "/metrics", ADMIN)
        async with up.http.get(up.url + "/metrics", headers=bearer(ADMIN), ssl=renewed.trusted()) as response:
            assert response.status == 401
        (tmp_path / "token").write_text("short")
        up.process.send_signal(signal.SIGHUP)
        await up.until_logged("not reloaded, the old certificate and tokens stay", 2)
        headers = bearer("another-token-of-this-test")
        async with up.http.get(up.url + "/metrics", headers=headers, ssl=renewed.trusted()) as response:
            assert response.status == 200
