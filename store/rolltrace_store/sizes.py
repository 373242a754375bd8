"""What an environment's bytes are used for: rows and sizes by table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rolltrace_store import schema
from rolltrace_store.inspection import LmdbSnapshot
from rolltrace_store.rows import Rows
from rolltrace_store.schema import meta


@dataclass(frozen=True, slots=True)
class TableSize:
    """`bytes` is what the table's pages take."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """`free_bytes` are in the file and will be used again; `compact` gives them back."""

    path: str
    format: int
    epoch: str
    head: int
    tables: Sequence[TableSize]
    file_bytes: int
    free_bytes: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def sizes(source: LmdbSnapshot) -> Sizes:
    """Measures a snapshot; reads no rows but three of `meta`."""
    names = dict.fromkeys(table.name for table in schema.TABLES)
    tables = [TableSize(name, source.count(name), source.used_bytes(name)) for name in names]
    numbers = Rows(source.txn, source.databases[meta.NUMBERS.name], meta.NUMBERS)
    texts = Rows(source.txn, source.databases[meta.TEXTS.name], meta.TEXTS)
    file_bytes = source.file_bytes()
    return Sizes(
        path=str(source.path),
        format=schema.FORMAT_VERSION,
        epoch=texts.get(meta.EPOCH) or "",
        head=numbers.get(meta.HEAD) or 0,
        tables=tables,
        file_bytes=file_bytes,
        free_bytes=max(file_bytes - sum(table.bytes for table in tables), 0),
    )


def render(found: Sizes) -> str:
    """A table for people."""
    rows = [(table.name, f"{table.rows:,}", human(table.bytes)) for table in found.tables]
    width = max(len(row[0]) for row in rows)
    lines = [f"{'table':<{width}} {'rows':>12} {'size':>10}"]
    lines += [f"{name:<{width}} {count:>12} {size:>10}" for name, count, size in rows]
    used = sum(table.bytes for table in found.tables)
    lines += [
        "",
        f"used {human(used)} of a file of {human(found.file_bytes)}; {human(found.free_bytes)} are free",
        f"format {found.format}, epoch {found.epoch}, head of the log {found.head}",
    ]
    return "\n".join(lines)


def human(size: float) -> str:
    """A size in the largest unit that leaves a number over 1."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
