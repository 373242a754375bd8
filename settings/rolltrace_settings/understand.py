"""From what was given to values: types, ranges, choices, and the entries of `workers:`. No I/O.

An error names the place and the value, but never the value of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import cast
from urllib.parse import urlsplit

from rolltrace_settings import rllm
from rolltrace_settings.errors import SettingsError, nearest
from rolltrace_settings.kinds import COUNT, PATH, SWITCH, TEXT, URL, Kind, Scalar, plain
from rolltrace_settings.settings import DECLARATIONS, Declaration, Settings, WorkerSetting
from rolltrace_settings.sources import Given, WorkerFields

WORKER_FIELDS = tuple(f.name for f in fields(WorkerSetting))
ENGINES = ("vllm", "sglang", "llamacpp", "openai")
MAX_WEIGHT = 1000.0
_WORKER_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def understand(given: Mapping[str, Given]) -> Settings:
    """Settings from values by name; those that are not given take their defaults."""
    values: dict[str, object] = {
        name: read_workers(value) if name == "workers" else read_value(DECLARATIONS[name], value)
        for name, value in given.items()
    }
    return Settings(**values)  # type: ignore[arg-type]  # each was read as its declaration says


def read_value(declaration: Declaration, given: Given) -> Scalar:
    """One value, in its range."""
    value = _read(declaration.kind, given, secret=declaration.secret)
    if declaration.choices and isinstance(value, str) and value.lower() in declaration.choices:
        return value.lower()
    if declaration.choices and value not in declaration.choices:
        choices = ", ".join(declaration.choices)
        raise SettingsError(
            f"{given.place}: {_shown(value)} is not one of {choices}{_near(value, declaration)}"
        )
    if declaration.required and value == "":
        raise SettingsError(f"{given.place}: is empty")
    if isinstance(value, str):
        return value
    show, shown = declaration.kind.show, _shown(given.value)
    if declaration.low is not None and value < declaration.low:
        raise SettingsError(f"{given.place}: {shown} is too small; at least {show(declaration.low)}")
    if declaration.high is not None and value > declaration.high:
        raise SettingsError(f"{given.place}: {shown} is too large; at most {show(declaration.high)}")
    return value


def read_workers(given: Given) -> tuple[WorkerSetting, ...]:
    """The workers, no URL twice."""
    entries = given.value
    if not isinstance(entries, list):
        raise SettingsError(f"{given.place}: is not a list; write one '- url: http://host:port' a worker")
    workers = tuple(_worker(entry) for entry in cast(list[Given], entries))
    seen: set[str] = set()
    for worker in workers:
        for name in filter(None, (worker.url + worker.api_path, worker.worker_id)):
            if name in seen:
                raise SettingsError(f"{given.place}: {name} is given twice")
            seen.add(name)
    return workers


def _worker(entry: Given) -> WorkerSetting:
    value = entry.value
    if not isinstance(value, dict):
        url, api_path = _worker_url(entry)
        return WorkerSetting(url=url, api_path=api_path)
    given = {
        name: field
        for name, field in cast(WorkerFields, value).items()
        if not (name in rllm.NULLABLE and field.value is None)
    }
    for name, value in given.items():
        if name not in WORKER_FIELDS:
            raise SettingsError(f"{value.place}: {name}: no such field{nearest(name, WORKER_FIELDS)}")
    if "url" not in given:
        raise SettingsError(f"{entry.place}: a worker has no url")
    url, path_of_url = _worker_url(_at(given, "url"))
    engine = _text(given, "engine")
    if engine and engine not in ENGINES:
        place = _at(given, "engine").place
        raise SettingsError(
            f"{place}: {_shown(engine)} is not one of {', '.join(ENGINES)}{nearest(engine, ENGINES)}"
        )
    return WorkerSetting(
        url=url,
        model_name=_text(given, "model_name"),
        weight=_weight(given),
        api_path=_api_path(given) or path_of_url,
        api_key=_text(given, "api_key"),
        engine=engine,
        ca_file=_text(given, "ca_file", PATH),
        worker_id=_worker_id(given),
    )


def _worker_url(given: Given) -> tuple[str, str]:
    """The URL and the API path that it ended in."""
    if isinstance(given.value, str) and "@" in given.value:
        raise SettingsError(f"{given.place}: the URL holds a password; give it as the api_key of the worker")
    url = str(_read(URL, given))
    if not url:
        raise SettingsError(f"{given.place}: is empty")
    return (url[: -len("/v1")], "/v1") if urlsplit(url).path.endswith("/v1") else (url, "")


def _api_path(given: WorkerFields) -> str:
    path = _text(given, "api_path").rstrip("/")
    if path and not path.startswith("/"):
        raise SettingsError(f"{_at(given, 'api_path').place}: {_shown(path)} does not begin with a slash")
    return path


def _weight(given: WorkerFields) -> float:
    if "weight" not in given:
        return 1.0
    at = _at(given, "weight")
    try:
        weight = float(str(at.value)) if not isinstance(at.value, bool) else 0.0
    except ValueError:
        weight = 0.0
    if not 0 < weight <= MAX_WEIGHT:
        raise SettingsError(
            f"{at.place}: {_shown(at.value)} is not a number above 0, at most {MAX_WEIGHT:.0f}"
        )
    return weight


def _worker_id(given: WorkerFields) -> str:
    worker_id = _text(given, "worker_id")
    if worker_id and not _WORKER_ID.fullmatch(worker_id):
        place = _at(given, "worker_id").place
        raise SettingsError(f"{place}: {_shown(worker_id)} is not 1 to 128 of [A-Za-z0-9._:-]")
    return worker_id


def _text(given: WorkerFields, name: str, kind: Kind = TEXT) -> str:
    return str(_read(kind, _at(given, name), secret=name == "api_key")) if name in given else ""


def _at(given: WorkerFields, name: str) -> Given:
    return Given(given[name].value, f"{given[name].place}: {name}")


def _read(kind: Kind, given: Given, *, secret: bool = False) -> Scalar:
    value = given.value
    shown = "the value" if secret else _shown(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    switch = isinstance(value, bool) and kind is SWITCH
    if not isinstance(value, str) and not (number and kind.numeric) and not switch:
        remedy = "; put it in quotes" if number else ""
        raise SettingsError(f"{given.place}: {shown} is not {_article(kind)}{remedy}")
    try:
        return kind.read(plain(value))
    except ValueError as error:
        forms = f"; write {kind.forms}" if kind not in (TEXT, PATH, COUNT) else ""
        raise SettingsError(f"{given.place}: {shown} {error}{forms}") from None


def _article(kind: Kind) -> str:
    return TEXT.name if kind in (TEXT, PATH) else f"a {kind.name}"


def _near(value: Scalar, declaration: Declaration) -> str:
    return nearest(str(value), declaration.choices)


def _shown(value: object) -> str:
    """As a person would have written it, on one line, not endless, and without the query of a URL."""
    if value is None:
        text = "nothing"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = repr(value.partition("?")[0] if "://" in value else value)
    else:
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
