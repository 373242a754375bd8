"""What rLLM's gateway calls its settings, and what each means here. Decisions only.

Whoever runs rllm-model-gateway 0.1.0 starts Rolltrace with the same flags, variables and YAML file. Rule:
none of its names is dropped silently. One that another of ours stands for is taken over, one that asks for
what is so anyway does nothing, both with a hint; one that asks for what is not to be had here is an error
that says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STORE_KEY = "store_worker"
STORE_FLAG = "--store"
PREFIX = "RLLM_GATEWAY_"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A setting of rLLM's. `means`: ours, which takes its value. Else `hints` says of each value that changes
    nothing here why, and `refused` of any other why it can't be had."""

    means: str = ""
    hints: Mapping[str, str] = field(default_factory=dict[str, str])
    refused: str = ""


_IN_LMDB = "does nothing: the store is LMDB, in the folder db_path"
_DURABLE = "does nothing: every trace is committed before its answer ends"

KEYS: Mapping[str, Foreign] = {
    "health_check_interval": Foreign(means="health_interval"),
    STORE_KEY: Foreign(
        hints={
            "sqlite": f"{_IN_LMDB}; 'rolltrace import FILE' brings traces over from SQLite",
            "memory": f"{_IN_LMDB}, and outlives the gateway; memory stays bounded",
        },
        refused="there is one store, LMDB in the folder db_path: remove it",
    ),
    "add_logprobs": Foreign(
        hints={"true": "does nothing: log-probabilities are always asked for"},
        refused="log-probabilities are always asked for, and agents see those that they asked for: remove it",
    ),
    "add_return_token_ids": Foreign(
        hints={"true": "does nothing: token ids are always asked for"},
        refused="token ids are always asked for, and agents see those that they asked for: remove it",
    ),
    "strip_vllm_fields": Foreign(
        hints={"true": "does nothing: agents never see what they did not ask for"},
        refused="an agent sees what it asked for itself: let it send return_token_ids, and remove this",
    ),
    "routing_policy": Foreign(
        hints={"null": ""},
        refused="no class is loaded to choose workers: sessions stick to theirs, in proportion to the "
        "workers' weights and bounded by load; remove it",
    ),
    "sync_traces": Foreign(hints={"true": _DURABLE, "false": _DURABLE}),
}
"""By YAML key. Its other keys (host, port, db_path, log_level, workers) have the same names here."""

VARIABLES: Mapping[str, str] = {
    f"{PREFIX}HOST": "host",
    f"{PREFIX}PORT": "port",
    f"{PREFIX}DB_PATH": "db_path",
    f"{PREFIX}LOG_LEVEL": "log_level",
    f"{PREFIX}STORE": STORE_KEY,
}
"""Its environment variables, and the YAML keys that they give."""

NULLABLE = frozenset({"db_path", "model_name"})
"""What it writes as null when it was not given."""


def meaning(key: str, value: object) -> tuple[str, str]:
    """What a value of a key of KEYS means: our setting that takes it, or none; and a hint, or none.

    Raises ValueError, which says why, for what can't be had.
    """
    foreign = KEYS[key]
    if foreign.means:
        return foreign.means, f"is understood; here it is {foreign.means}"
    hint = foreign.hints.get(_text(value))
    if hint is None:
        raise ValueError(foreign.refused or f"is neither {' nor '.join(foreign.hints)}")
    return "", hint


def _text(value: object) -> str:
    """As YAML writes it."""
    if value is None:
        return "null"
    return str(value).strip().lower()
