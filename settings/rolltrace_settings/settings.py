"""Every setting of the services, declared once: name, type, default, kind, range, users, help.

From this table come the flags, the environment variables, the YAML keys, `--help` and
docs/configuration.md. A setting's flag is `--name-with-dashes`, its variable `ROLLTRACE_NAME`, its YAML
key `name`. Flags win over the environment, the environment over YAML, YAML over defaults.
`rolltrace up` has every setting, since it starts both services. A setting that is a secret has no flag,
since a command line is for everybody to see, and is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar

from rolltrace_settings.kinds import COUNT, DURATION, PATH, SIZE, SWITCH, TEXT, URL, Kind

MIB = 1 << 20
WEEK = 7 * 24 * 3600.0
CENTURY = 100 * 365 * 24 * 3600.0

Service = Literal["proxy", "control", "up"]
T = TypeVar("T")

PROXY: tuple[Service, ...] = ("proxy", "up")
CONTROL: tuple[Service, ...] = ("control", "up")
BOTH: tuple[Service, ...] = ("proxy", "control", "up")
UP: tuple[Service, ...] = ("up",)
PROGRAMS: dict[Service, str] = {
    "proxy": "rolltrace-proxy",
    "control": "rolltrace-control",
    "up": "rolltrace up",
}


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is known of a setting besides its name, type and default."""

    help: str
    group: str
    services: tuple[Service, ...]
    kind: Kind
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    secret: bool = False


def setting(
    default: T,
    kind: Kind,
    services: tuple[Service, ...],
    group: str,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    required: bool = False,
    secret: bool = False,
) -> T:
    """Declare one setting. (Typed as its default, as dataclasses.field is.)"""
    declaration = Declaration(help, group, services, kind, low, high, choices, required, secret)
    declared: T = field(default=default, repr=not secret, metadata={"declaration": declaration})
    return declared


@dataclass(frozen=True, slots=True)
class WorkerSetting:
    """One entry of `workers:`; the fields are those of rolltrace.v1.Worker.

    url has no slash at its end; a URL given as ".../v1" is taken apart into url and api_path.
    """

    url: str
    model_name: str = ""
    weight: float = 1.0
    api_path: str = ""
    api_key: str = field(default="", repr=False)
    engine: str = ""
    ca_file: str = ""
    worker_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, with their values. Times are in seconds, sizes in bytes."""

    # fmt: off
    host: str = setting("127.0.0.1", TEXT, BOTH, "addresses",
        "The address that agents reach the proxy at.", required=True)
    port: int = setting(9090, COUNT, BOTH, "addresses",
        "The proxy's HTTP port. 0 takes a free one.", low=0, high=65535)
    control_host: str = setting("127.0.0.1", TEXT, BOTH, "addresses",
        "The address that trainers reach the control service at.", required=True)
    control_port: int = setting(9091, COUNT, BOTH, "addresses",
        "The control service's gRPC port. 0 takes a free one.", low=0, high=65535)
    public_url: str = setting("", URL, CONTROL, "addresses",
        "What agents put before /sessions/, when they reach the proxy by another name "
        "than http://HOST:PORT, e.g. through a load balancer.")

    auth: Literal["none", "token"] = setting("none", TEXT, BOTH, "access",
        "Who gets in: 'none' everybody, 'token' the holder of the admin token and, to its own path, "
        "the holder of a session's key.", choices=("none", "token"))
    admin_token_file: str = setting("", PATH, BOTH, "access",
        "A file with the admin token; of several lines, each is a token.")
    admin_token: str = setting("", TEXT, BOTH, "access",
        "The admin token itself, when there is no file.", secret=True)
    insecure: bool = setting(False, SWITCH, BOTH, "access",
        "Listen at other addresses than loopback without auth.")
    tls_cert_file: str = setting("", PATH, BOTH, "access",
        "The certificate chain of both services, PEM. With it they speak TLS alone.")
    tls_key_file: str = setting("", PATH, BOTH, "access", "The certificate's private key, PEM.")
    tls_client_ca_file: str = setting("", PATH, BOTH, "access",
        "Certificates that a trainer's own must descend from, PEM (mutual TLS of the control service).")
    forward_authorization: bool = setting(False, SWITCH, PROXY, "access",
        "Pass an agent's Authorization, api keys and cookies on to the worker.")
    redact: str = setting("", TEXT, PROXY, "access",
        "A function, as module:function, that takes a request's body and its endpoint and returns the body "
        "to record.")

    workers: tuple[WorkerSetting, ...] = setting((), URL, BOTH, "workers",
        "Inference servers to forward calls to, besides those registered over gRPC.")
    model: str = setting("", TEXT, PROXY, "workers",
        "The model that every call gets, whatever the agent asked for. Empty: the agent's own.")
    health_interval: float = setting(2.0, DURATION, CONTROL, "workers",
        "The time between two health checks of a worker.", low=0.05, high=WEEK)
    health_timeout: float = setting(5.0, DURATION, CONTROL, "workers",
        "A worker that takes longer to answer a health check is unhealthy.", low=0.05, high=WEEK)

    db_path: str = setting("data", PATH, BOTH, "data",
        "The folder of the LMDB environment. It is made when it is missing.", required=True)
    durability: Literal["power", "process"] = setting("power", TEXT, BOTH, "data",
        "What a recorded call survives: 'power' a power cut (each commit is synced), 'process' the death "
        "of any process (for about half the CPU).", choices=("power", "process"))
    max_db_size: int = setting(1 << 40, SIZE, BOTH, "data",
        "The most that the environment may grow to. It reserves address space, not disk. "
        "The same for every process.", low=MIB, high=1 << 46)
    history_cache_size: int = setting(256 * MIB, SIZE, BOTH, "data",
        "Memory for the latest traces of sessions, which new ones are written against.", low=0)
    write_queue_size: int = setting(256 * MIB, SIZE, BOTH, "data",
        "Memory for traces that wait for their commit; from half of it on, new calls are refused.", low=MIB)

    min_free_disk: int = setting(64 * MIB, SIZE, BOTH, "data",
        "With less free on the disk of db_path, new calls are refused (507) before they reach a worker.",
        low=0)

    record_other_calls: bool = setting(True, SWITCH, PROXY, "data",
        "Record what has no tokens (embeddings, tokenize, count_tokens, ...) as well. 'false' passes it on "
        "without a trace.")

    retention_age: float = setting(0.0, DURATION, CONTROL, "retention",
        "Sealed sessions go so long after their seal. 0 keeps them.", low=0, high=CENTURY)
    retention_size: int = setting(0, SIZE, CONTROL, "retention",
        "While the store uses more, the sessions that were sealed first go. 0 sets no limit.", low=0)
    retention_open_age: float = setting(0.0, DURATION, CONTROL, "retention",
        "Sessions that were never sealed go when no call of theirs ran for so long. 0 keeps them.",
        low=0, high=CENTURY)
    tombstone_age: float = setting(24 * 3600.0, DURATION, CONTROL, "retention",
        "For so long no late call brings a deleted session back, and subscribers can learn of its deletion.",
        low=0, high=CENTURY)

    connect_timeout: float = setting(5.0, DURATION, PROXY, "time-outs of a call",
        "To connect to a worker. Another worker is tried after it.", low=0.01, high=WEEK)
    first_byte_timeout: float = setting(600.0, DURATION, PROXY, "time-outs of a call",
        "From the request to the first byte of the worker's answer.", low=0.01, high=WEEK)
    idle_timeout: float = setting(300.0, DURATION, PROXY, "time-outs of a call",
        "Between two chunks of a worker's answer.", low=0.01, high=WEEK)
    total_timeout: float = setting(3600.0, DURATION, PROXY, "time-outs of a call",
        "For the whole call.", low=0.01, high=WEEK)

    max_body_size: int = setting(64 * MIB, SIZE, PROXY, "limits",
        "The largest request body that is taken.", low=1)
    max_header_size: int = setting(64 << 10, SIZE, PROXY, "limits",
        "The largest header of a request that is taken.", low=1024)
    max_calls: int = setting(8_000, COUNT, PROXY, "limits",
        "Calls that one proxy runs at the same time; more are refused with 503. Each takes two open files.",
        low=1)

    max_answer_size: int = setting(256 * MIB, SIZE, PROXY, "limits",
        "The largest answer in one piece that is kept; a larger one is forwarded as it comes, and can't be"
        " translated: its call fails.", low=1)
    session_max_calls: int = setting(0, COUNT, PROXY, "limits",
        "Calls that a session may make, unless it says itself; more are refused with 429. 0: no limit.",
        low=0)
    session_max_tokens: int = setting(0, COUNT, PROXY, "limits",
        "Prompt and sampled tokens that a session may take, unless it says itself. 0: no limit.", low=0)
    session_max_time: float = setting(0.0, DURATION, PROXY, "limits",
        "The time from its creation for which a session may make calls, unless it says itself. 0: no limit.",
        low=0, high=WEEK)

    proxies: int = setting(1, COUNT, UP, "processes",
        "How many proxy processes share the port.", low=1, high=256)
    drain_timeout: float = setting(30.0, DURATION, BOTH, "processes",
        "How long running calls and streams may go on after a signal to stop.", low=0, high=WEEK)
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", TEXT, BOTH, "processes",
        "The least that is logged.", choices=("debug", "info", "warning", "error"))
    # fmt: on


DECLARATIONS: dict[str, Declaration] = {f.name: f.metadata["declaration"] for f in fields(Settings)}
DEFAULTS = Settings()


def flag(name: str) -> str:
    """The flag of a setting; workers are given one at a time."""
    return "--worker" if name == "workers" else "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"ROLLTRACE_{name.upper()}"
