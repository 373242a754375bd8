"""Every setting of the services, declared once: name, type, default, help.

From this table come the flags, the environment variables, the YAML keys, `--help` and
docs/configuration.md. A setting's flag is `--name-with-dashes`, its variable `ROLLTRACE_NAME`, its YAML
key `name`. Flags win over the environment, the environment over YAML, YAML over defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkerSetting:
    """One entry of `workers:`; the fields are those of rolltrace.v1.Worker."""

    url: str
    model_name: str = ""
    weight: float = 1.0
    api_path: str = ""
    api_key: str = field(default="", repr=False)
    engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, with their values. Times are in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 9090
    control_host: str = "127.0.0.1"
    control_port: int = 9091
    public_url: str = ""
    db_path: str = "data"
    workers: tuple[WorkerSetting, ...] = ()
    proxies: int = 1
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    model: str = ""
    durability: Literal["power", "process"] = "power"
    max_db_size: int = 1 << 40
    history_cache_size: int = 256 * MIB
    write_queue_size: int = 256 * MIB
    connect_timeout: float = 5.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 300.0
    total_timeout: float = 3600.0
    drain_timeout: float = 30.0
    max_body_size: int = 64 * MIB
    max_header_size: int = 64 << 10
    max_calls: int = 10_000
    health_interval: float = 2.0
    health_timeout: float = 5.0
