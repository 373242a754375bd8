"""The gateways that are compared, how each is started, and where it is found.

`make bench-peers` installs each peer into an environment of its own below PEERS. One that is not there is
left out, and says how to get it.
"""

from __future__ import annotations

import getpass
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PEERS = Path(__file__).parents[2] / ".peers"
SESSION_PATH = "/sessions/{sid}/v1/chat/completions"
PLAIN_PATH = "/v1/chat/completions"
MINE = "rolltrace"
MINE_POWER = "rolltrace, power"
DIRECT = "direct"
NGINX = "nginx"
ROUTER = "sglang-router"
RLLM = "rllm-model-gateway"


@dataclass(frozen=True)
class Places:
    """Where a gateway is to listen and store, and where its worker is."""

    port: int
    control_port: int
    worker_port: int
    folder: Path

    @property
    def worker(self) -> str:
        return f"http://127.0.0.1:{self.worker_port}"


@dataclass(frozen=True)
class Target:
    """A gateway. `command` writes what files it needs; `flush` waits for what it writes later."""

    name: str
    path: str
    command: Callable[[Places], list[str]]
    program: str = ""
    flush: str = ""

    @property
    def is_there(self) -> bool:
        return not self.program or shutil.which(self.program) is not None


NGINX_CONFIG = """\
worker_processes 1; daemon off; user {user}; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 64m; client_body_buffer_size 4m; keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream worker {{ server 127.0.0.1:{worker_port}; keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    location ~ ^/sessions/[^/]+(/v1/.*)$ {{ proxy_pass http://worker$1; }}
    location / {{ proxy_pass http://worker; }}
  }}
}}
"""


def rolltrace(name: str, durability: str, *more: str) -> Target:
    """With settings of its own."""

    def command(places: Places) -> list[str]:
        settings = f"--port {places.port} --control-port {places.control_port} --durability {durability}"
        data = ["--db-path", str(places.folder / "data"), "--worker", places.worker]
        return [sys.executable, "-m", "rolltrace_client", "up", *settings.split(), *data, *more]

    return Target(name, SESSION_PATH, command)


def _nginx(places: Places) -> list[str]:
    config = places.folder / "nginx.conf"
    said = {"port": places.port, "worker_port": places.worker_port, "folder": places.folder}
    config.write_text(NGINX_CONFIG.format(user=getpass.getuser(), **said))
    return [
        _nginx_program(),
        "-c",
        str(config),
        "-p",
        str(places.folder),
        "-e",
        str(places.folder / "error.log"),
    ]


def _nginx_program() -> str:
    own = PEERS / NGINX / "usr/sbin/nginx"
    return str(own) if own.exists() else shutil.which(NGINX, path="/usr/sbin:/usr/local/bin:/usr/bin") or ""


def _router(places: Places) -> list[str]:
    arguments = f"--host 127.0.0.1 --port {places.port} --worker-urls {places.worker} --policy round_robin"
    quiet = f"--prometheus-port {places.control_port} --log-level error"
    return [ROUTER_PROGRAM, "-m", "sglang_router.launch_router", *arguments.split(), *quiet.split()]


def _rllm(places: Places) -> list[str]:
    (places.folder / "data").mkdir()
    arguments = f"--host 127.0.0.1 --port {places.port} --worker {places.worker}/v1 --store sqlite"
    return [RLLM_PROGRAM, *arguments.split(), "--db-path", str(places.folder / "data" / "traces.db")]


ROUTER_PROGRAM = str(PEERS / ROUTER / "bin/python")
RLLM_PROGRAM = str(PEERS / RLLM / "bin/rllm-model-gateway")

TARGETS = (
    Target(DIRECT, PLAIN_PATH, lambda places: []),
    Target(NGINX, SESSION_PATH, _nginx, _nginx_program() or "no nginx"),
    Target(ROUTER, PLAIN_PATH, _router, ROUTER_PROGRAM),
    Target(RLLM, SESSION_PATH, _rllm, RLLM_PROGRAM, "/admin/flush"),
    rolltrace(MINE, "process"),
    rolltrace(MINE_POWER, "power"),
)


_left_out: set[str] = set()


def leave_out_peers() -> None:
    _left_out.update((NGINX, ROUTER, RLLM))


@cache
def there() -> tuple[Target, ...]:
    """All targets but the peers that are not wanted or not installed; of these it tells."""
    wanted = [target for target in TARGETS if target.name not in _left_out]
    for target in wanted:
        if not target.is_there:
            print(f"{target.name} is left out: `make bench-peers` installs it", file=sys.stderr)
    return tuple(target for target in wanted if target.is_there)
