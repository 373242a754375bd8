"""What the commands print: tables for people, one JSON object a line for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from ..value import Value

EMPTY: tuple[object, ...] = (None, "", {}, [])
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: object) -> None:
    print(json.dumps(as_json(value), ensure_ascii=False), flush=True)


def as_json(value: object) -> Any:
    """A value as JSON takes it. Times are ISO 8601, NaN is null, `..._json` bodies are parsed."""
    match value:
        case Value():
            names: list[str] = value.field_names()
            return {name.removesuffix("_json"): as_json(getattr(value, name)) for name in names}
        case datetime():
            return value.isoformat()
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return _body(value)
        case str() | int() | None:
            return value
        case Mapping():
            return {key: as_json(item) for key, item in cast(Mapping[str, object], value).items()}
        case _ if hasattr(value, "tolist"):  # either kind of array
            return as_json(cast(Any, value).tolist())
        case Iterable():
            return [as_json(item) for item in cast(Iterable[object], value)]
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}")


def _body(data: bytes) -> Any:
    """A recorded body: parsed, or as text where it is not JSON."""
    if not data:
        return None
    try:
        return as_json(json.loads(data))
    except ValueError:
        return data.decode(errors="replace")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they need be; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(cells) and all(_numeric(row[n]) for row in cells) for n in range(len(headings))]
    widths = [max(len(row[n]) for row in [list(headings), *cells]) for n in range(len(headings))]
    for row in [list(headings), *cells]:
        padded = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; what is empty is left out."""
    shown = {name: _cell(value) for name, value in facts.items() if value not in EMPTY}
    width = max((len(name) for name in shown), default=0)
    for name, text in shown.items():
        print(f"{name.ljust(width)}  {text}")


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case dict():
            return " ".join(f"{key}={item}" for key, item in cast(dict[str, object], value).items())
        case list():
            return ", ".join(map(str, cast(list[object], value)))
        case _:
            return str(value)


def _numeric(text: str) -> bool:
    return not text or text.replace(".", "", 1).replace("-", "", 1).isdecimal()


def size(count: int) -> str:
    """Bytes for people."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / 1024**power:.{1 if power else 0}f} {_UNITS[power]}"
