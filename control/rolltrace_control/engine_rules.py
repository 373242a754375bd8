"""Which engine a worker runs, from what it says of itself. Decisions only.

The listing of its models tells first, since every model has an `owned_by`: vLLM writes "vllm"
(entrypoints/serve/engine/protocol.py), SGLang "sglang" (srt/entrypoints/openai/protocol.py), llama.cpp
"llamacpp", and who writes anything else is none of them. A server whose listing names no owner or can't be
read, for a key that is not its own or since a router hides it, is asked at paths that only one engine has.
What none of this tells stays unknown, "": only a server that says what it is gets another treatment than
before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Object = dict[str, Json]

VLLM, SGLANG, LLAMACPP, OTHER, UNKNOWN = "vllm", "sglang", "llamacpp", "openai", ""


class Listing(NamedTuple):
    """The models that a server says it serves."""

    owners: frozenset[str]
    names: frozenset[str]


def listing_of(status: int, body: bytes) -> Listing | None:
    """None for what is not a listing of one model at least."""
    data = object_of(status, body).get("data")
    models = [model for model in data if isinstance(model, dict)] if isinstance(data, list) else []
    if not models:
        return None
    return Listing(_texts(models, "owned_by"), _texts(models, "id"))


def engine_of(listing: Listing) -> str:
    return next((engine for engine in (VLLM, SGLANG, LLAMACPP) if engine in listing.owners), OTHER)


def is_vllm(version: Object) -> bool:
    """Whether a /version is vLLM's, which holds nothing else and needs no key."""
    return list(version) == ["version"] and isinstance(version["version"], str)


def is_sglang(info: Object) -> bool:
    return "internal_states" in info


PATHS: tuple[tuple[str, str, Callable[[Object], bool]], ...] = (
    ("/version", VLLM, is_vllm),
    ("/server_info", SGLANG, is_sglang),
    ("/get_server_info", SGLANG, is_sglang),
)
"""Where one engine answers and others do not: the path, the engine, and how its answer is known."""


def object_of(status: int, body: bytes) -> Object:
    """The JSON object of an answer; empty for what is none."""
    try:
        found: Json = json.loads(body) if status == 200 else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def doubts(engine: str, told: str, model_names: list[str], listing: Listing | None) -> list[str]:
    """What does not fit between a worker as it was registered and what it says, in words."""
    found: list[str] = []
    if engine and told and engine != told:
        found.append(f"its engine is set to {engine}, but it says that it is {told}")
    missing = sorted({*model_names} - listing.names) if listing else []
    if listing and missing:
        served = ", ".join(sorted(listing.names)) or "no model"
        found.append(f"it is to serve {', '.join(missing)}, but lists {served}")
    return found


def _texts(models: list[Object], key: str) -> frozenset[str]:
    return frozenset(text for model in models if isinstance(text := model.get(key), str))
