"""What all calls of a proxy share: its parts, and how far it is on its way out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from rolltrace_proxy.access import Access
from rolltrace_proxy.arrival import Arrivals
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.prompts import Prompts
from rolltrace_proxy.recorder import Recorder
from rolltrace_proxy.redaction import Redaction
from rolltrace_proxy.running import Running
from rolltrace_proxy.upstream import Upstream
from rolltrace_proxy.workers import Workers
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import Store


@dataclass(slots=True)
class Shared:
    settings: Settings
    store: Store
    workers: Workers
    upstream: Upstream
    metrics: Metrics
    redaction: Redaction
    access: Access = field(init=False)
    """Set before anything listens."""
    tasks: set[asyncio.Task[object]] = field(default_factory=set[asyncio.Task[object]])
    draining: bool = False
    """No new calls."""
    stopping: bool = False
    """The calls that still run are being cancelled."""
    prompts: Prompts = field(default_factory=Prompts)
    running: Running = field(default_factory=Running)
    arrivals: Arrivals = field(init=False)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.arrivals = Arrivals(self.settings, self.store, self.workers, self.running, self.metrics)
        self.recorder = Recorder(self.store, self.metrics)
