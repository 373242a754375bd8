"""`rolltrace up`: one control service and N proxies, started, watched and stopped together.

What can be known to be wrong before anything starts is said first, in one line: a setting (status 2), a
port that is taken, a missing extra (status 1). The children get their settings by environment variables,
so that they see exactly what was resolved here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from errno import EADDRINUSE
from functools import partial
from pathlib import Path

from rolltrace_settings import rllm
from rolltrace_settings.console import configure_logging
from rolltrace_settings.load import load, to_environment
from rolltrace_settings.settings import Settings
from rolltrace_settings.version import installed_version

from ..probes import authority, control_is_healthy, proxy_is_healthy
from ..services import what_is_missing
from ..supervisor import Child, Supervisor

LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
GRACE = 5.0
QUIET = {"GRPC_VERBOSITY": "ERROR"}
"""Else gRPC writes a line of its own for each handshake that fails: a stranger's, or the health probe's."""
ACCESS = {
    "none": "everybody who reaches these addresses (auth: none)",
    "token": "with the admin token, or a session's api_key",
}
FOREIGN = ("ROLLTRACE_", rllm.PREFIX)
"""Variables of settings, which children do not inherit: those that they get are resolved."""
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class CannotStart(Exception):
    """Nothing was started. `str()` is one line that names cause and remedy."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]  # argparse has no public name for it
    """Add `up`. Its arguments go to the settings as they are, which know them and their help."""
    parser = subparsers.add_parser(
        "up", help="start the pair and keep it running", add_help=False, prefix_chars="\0"
    )
    parser.add_argument("settings", nargs="*")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """The command, from parsed arguments to the exit status."""
    given: list[str] = arguments.settings
    return up(given)


def up(argv: Sequence[str]) -> int:
    """Run until a signal comes; the exit status."""
    return keep_up(load(argv, service="up"))


def keep_up(
    settings: Settings,
    companions: Sequence[Child] = (),
    when_up: Callable[[Settings], None] = lambda settings: print(summary(settings), flush=True),
) -> int:
    """The same with settings that are loaded already, and with more children; `when_up` tells of them."""
    configure_logging(settings.log_level)
    try:
        require_services()
        settings = with_free_ports(settings)
    except CannotStart as error:
        print(f"rolltrace up: {error}", file=sys.stderr)
        return 1
    metrics = tempfile.mkdtemp(prefix="rolltrace-metrics-") if settings.proxies > 1 else None
    try:
        return asyncio.run(_supervise(settings, metrics, companions, when_up))
    finally:
        if metrics:
            shutil.rmtree(metrics, ignore_errors=True)


async def _supervise(
    settings: Settings,
    metrics: str | None,
    companions: Sequence[Child],
    when_up: Callable[[Settings], None],
) -> int:
    pair = children(settings, os.environ, metrics)
    supervisor = Supervisor([*companions, *pair], settings.drain_timeout + GRACE)
    return await supervisor.run(lambda: when_up(settings))


def require_services() -> None:
    """CannotStart when the [server] extra is not installed. Nothing is imported."""
    if missing := what_is_missing():
        raise CannotStart(missing)


def with_free_ports(settings: Settings) -> Settings:
    """The settings with port 0 replaced by a free one; CannotStart when a port is taken."""
    port = free_port(settings.host, settings.port, "port")
    return replace(
        settings,
        port=port,
        control_port=free_port(settings.control_host, settings.control_port, "control-port"),
    )


def free_port(host: str, port: int, flag: str) -> int:
    """`port`, or a free one for 0, which nobody listened on just now."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except PermissionError:
        raise CannotStart(f"port {port} needs more rights; choose another with --{flag}") from None
    except socket.gaierror as error:
        raise CannotStart(f"{host}: {error.strerror}") from None
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise CannotStart(f"cannot listen on {authority(host, port)}: {error.strerror}") from None
        raise CannotStart(
            f"{authority(host, port)} is taken; stop what listens there, or choose another port with --{flag}"
        ) from None


def children(settings: Settings, environ: Mapping[str, str], metrics: str | None) -> list[Child]:
    """The processes to keep running: proxies are stopped first."""
    environment = environment_of(settings, environ)
    if metrics:
        environment[METRICS_VARIABLE] = metrics
    host = LOOPBACK.get(settings.host, settings.host)
    control_host = LOOPBACK.get(settings.control_host, settings.control_host)
    tls = bool(settings.tls_cert_file)
    control = Child(
        "control",
        "rolltrace_control",
        environment,
        1,
        partial(control_is_healthy, control_host, settings.control_port, tls=tls),
    )
    proxies = [
        Child(
            "proxy" if settings.proxies == 1 else f"proxy {number}",
            "rolltrace_proxy",
            environment,
            0,
            partial(proxy_is_healthy, host, settings.port, tls=tls),
            ended=partial(forget_gauges, metrics),
        )
        for number in range(1, settings.proxies + 1)
    ]
    return [control, *proxies]


def environment_of(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is to have exactly these settings."""
    inherited = {key: value for key, value in environ.items() if not key.startswith(FOREIGN)}
    return {**QUIET, **inherited, **to_environment(settings)}


def forget_gauges(metrics: str | None, pid: int) -> None:
    """Drop what a dead process had in flight from the sums; its counters stay."""
    for file in Path(metrics).glob(f"gauge_live*_{pid}.db") if metrics else ():
        file.unlink(missing_ok=True)


def summary(settings: Settings) -> str:
    """What a person needs to know once all is up."""
    scheme = "https" if settings.tls_cert_file else "http"
    proxy = f"{scheme}://{authority(LOOPBACK.get(settings.host, settings.host), settings.port)}"
    workers = [worker.url + worker.api_path for worker in settings.workers]
    processes = "1 proxy" if settings.proxies == 1 else f"{settings.proxies} proxies"
    rows = [
        ("agents", f"base_url = {settings.public_url or proxy}/sessions/SESSION_ID/v1"),
        ("trainers", f"{authority(settings.control_host, settings.control_port)} (gRPC, rolltrace.v1)"),
        *[("workers" if index == 0 else "", url) for index, url in enumerate(workers)],
        *([] if workers else [("workers", "those registered before; add one: rolltrace workers add URL")]),
        ("data", f"{Path(settings.db_path).resolve()} (durability: {settings.durability})"),
        ("metrics", f"{proxy}/metrics"),
        ("access", ACCESS[settings.auth]),
    ]
    lines = [f"  {label:<9} {text}" for label, text in rows]
    heading = f"rolltrace {installed_version()} is up: 1 control service, {processes}"
    return "\n".join([heading, "", *lines, "", "Ctrl-C drains and stops."])
