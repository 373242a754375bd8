"""Sessions and workers between rLLM's JSON and the contract's messages. No I/O.

Members of a body that are not known are ignored, as rLLM's gateway does; one that is known and makes no sense
is an error that names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import urlsplit

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.struct_pb2 import Value as ProtoValue

from rolltrace.v1.session_pb2 import Session, SessionState
from rolltrace.v1.session_service_pb2 import UpdateSessionRequest
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_proxy.raw_json import ANYTHING, Value, read
from rolltrace_proxy.rest.errors import bad
from rolltrace_proxy.rest.trace_record import weight_version

Members = Mapping[str, Value]
Json = dict[str, object]

_EXACT = 2**53
"""Whole numbers beyond are not kept exactly by a Struct."""
_DEEPEST = 30
"""Levels of a Struct that can be read again: protobuf reads 100 of its own, of which each takes three."""


def members(body: bytes) -> Members:
    """Of a request's body, which may be empty. Raises RestError."""
    value = read(ANYTHING, body) if body.strip() else {}
    if not isinstance(value, dict):
        raise bad("the body must be a JSON object")
    return value


def text(given: Members, name: str) -> str:
    """A member that is a string; "" when it is absent or null. Raises RestError."""
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise bad(f"{name} must be a string")
    return value


def names(given: Members, name: str) -> list[str]:
    """A member that is a list of strings; empty when it is absent. Raises RestError."""
    value = given.get(name)
    found = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    if value is not None and (not isinstance(value, list) or len(found) != len(value)):
        raise bad(f"{name} must be a list of strings")
    return found


def number(given: Members, name: str, default: float | None = None) -> float | None:
    """A member that is a finite number. Raises RestError."""
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad(f"{name} must be a number")
    return value


def count(given: Members, name: str) -> int | None:
    """A member that is a whole number of at least 0. Raises RestError."""
    value = number(given, name)
    if value is not None and (value < 0 or value != int(value)):
        raise bad(f"{name} must be a whole number of at least 0")
    return None if value is None else int(value)


def update_of(given: Members) -> UpdateSessionRequest:
    """What POST /sessions does to the session that it names. Raises RestError.

    Of a session that exists, what is given and not empty is replaced.
    """
    session = Session(session_id=text(given, "session_id"))
    for name in ("metadata", "sampling_params"):
        value = given.get(name)
        if value is not None:
            getattr(session, name).CopyFrom(struct(value, name))
    paths = [name for name in ("metadata", "sampling_params") if given.get(name)]
    return UpdateSessionRequest(session=session, update_mask=FieldMask(paths=paths), allow_missing=True)


def struct(value: Value, name: str) -> Struct:
    """Raises RestError unless it is an object that a Struct keeps as it is."""
    if not isinstance(value, dict):
        raise bad(f"{name} must be an object")
    if fault := _fault(value):
        raise bad(f"{name} {fault}")
    made = Struct()
    ParseDict(value, made)
    return made


def _fault(value: Value, depth: int = 1) -> str:
    """Why it would not be kept as it is; "" when it would."""
    if isinstance(value, dict | list):
        if depth > _DEEPEST:
            return f"nests deeper than {_DEEPEST} levels"
        within = value.values() if isinstance(value, dict) else value
        return next(filter(None, (_fault(each, depth + 1) for each in within)), "")
    if isinstance(value, int) and not -_EXACT <= value <= _EXACT:
        return "holds a whole number beyond 2**53, which is not kept exactly: give it as a string"
    return ""


def plain(value: Struct) -> Json:
    """A Struct as JSON; whole numbers without a fraction."""
    return {name: _plain(each) for name, each in value.fields.items()}


def _plain(value: ProtoValue) -> object:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return plain(value.struct_value)
    if kind == "list_value":
        return _plain_list(value.list_value)
    if kind == "number_value":
        given = value.number_value
        return int(given) if given.is_integer() else given
    return None if kind in (None, "null_value") else getattr(value, kind)


def _plain_list(values: ListValue) -> list[object]:
    return [_plain(each) for each in values.values]


def created_at(session: Session) -> float:
    """In seconds since 1970."""
    return session.create_time.ToNanoseconds() / 1e9


def session_info(session: Session) -> Json:
    """rLLM's SessionInfo, and what it has no place for."""
    return {
        "session_id": session.session_id,
        "trace_count": session.call_count + session.late_call_count,
        "created_at": created_at(session),
        "metadata": plain(session.metadata),
        "state": SessionState.Name(session.state).removeprefix("SESSION_STATE_").lower(),
        "failed_count": session.failed_call_count,
        "incomplete": session.incomplete,
    }


def created(session: Session, *, with_key: bool) -> Json:
    """The answer to POST /sessions. `with_key`: agents need the session's key to call it."""
    url = session.base_url[session.base_url.index("/sessions/") :]
    key = {"api_key": session.api_key} if with_key else {}
    return {"session_id": session.session_id, "url": url, "base_url": session.base_url, **key}


def worker_of(given: Members) -> Worker:
    """What POST /admin/workers registers. Raises RestError."""
    url = text(given, "url").strip().rstrip("/")
    if not url:
        raise bad("url is required")
    api_path = text(given, "api_path")
    if "api_path" not in given:
        url, api_path = _split(url)
    weight = number(given, "weight", 1)
    model_name = text(given, "model_name")
    return Worker(
        worker_id=text(given, "worker_id"),
        url=url,
        api_path=api_path,
        model_names=[model_name] if model_name else [],
        weight=weight or 0,
    )


def _split(url: str) -> tuple[str, str]:
    """A URL and the path that it ended in, which takes the place of "/v1"."""
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    return (url[: -len(path)], path) if path and url.endswith(path) else (url, "")


def version_of(given: Members) -> str:
    """The version that POST /admin/weight_version sets. Raises RestError."""
    value = given.get("weight_version")
    if value is None:
        raise bad("weight_version is required")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    version = str(value).strip()
    if isinstance(value, bool) or weight_version(version) is None:
        raise bad(f"invalid weight_version: {value!r}")
    return str(int(version))


def version_info(policy_version: str) -> Json:
    return {"weight_version": weight_version(policy_version), "policy_version": policy_version}
