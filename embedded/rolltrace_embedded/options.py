"""From the keywords of a Gateway to Settings. Decisions only.

Every setting of settings.py is a keyword; a worker is a URL, a mapping like an entry of `workers:` in YAML,
or a WorkerSetting. The trainer's environment decides nothing: its ROLLTRACE_* are for other gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from os import PathLike, fspath

from rolltrace_settings.access import check_access
from rolltrace_settings.errors import SettingsError, nearest
from rolltrace_settings.settings import DECLARATIONS, Settings, WorkerSetting
from rolltrace_settings.sources import Given
from rolltrace_settings.understand import understand

WorkerLike = str | Mapping[str, object] | WorkerSetting

EMBEDDED: dict[str, object] = {"port": 0, "control_port": 0, "log_level": "warning"}
"""Where a gateway in a trainer differs from one of its own: any free ports, and no word unless it matters."""
TEMPORARY: dict[str, object] = {"durability": "process"}
"""What is deleted when the gateway is closed need not survive a power cut."""


def settings_of(
    workers: Iterable[WorkerLike], db_path: str, keywords: Mapping[str, object], *, temporary: bool
) -> Settings:
    """Raises TypeError for a keyword that is no setting, SettingsError for a value that can't be used."""
    for name in keywords:
        if name not in DECLARATIONS:
            raise TypeError(f"Gateway: {name}: no such setting{nearest(name, DECLARATIONS)}")
    wanted = {**EMBEDDED, **(TEMPORARY if temporary else {}), **keywords, "db_path": db_path}
    given = {name: Given(_plain(value), f"Gateway: {name}") for name, value in wanted.items()}
    given["workers"] = Given(_workers(workers), "Gateway: workers")
    settings = understand(given)
    check_access(settings, "up", {name: value.place for name, value in given.items()})
    return settings


def _plain(value: object) -> object:
    return fspath(value) if isinstance(value, PathLike) else value  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]  # of str or bytes, which is told below


def _workers(workers: Iterable[WorkerLike]) -> list[Given]:
    if isinstance(workers, str):
        raise SettingsError(f"Gateway: workers: is a list of URLs; write workers=[{workers!r}]")
    return [_worker(worker) for worker in workers]


def _worker(worker: WorkerLike) -> Given:
    place = "Gateway: workers"
    if isinstance(worker, WorkerSetting):
        worker = asdict(worker)
    if not isinstance(worker, Mapping):
        return Given(worker, place)
    return Given({name: Given(value, place) for name, value in worker.items()}, place)
