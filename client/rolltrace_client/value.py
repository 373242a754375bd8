"""The ground of every value: an object over a protobuf message, whose fields are read when asked for.

`Field(convert)` reads the field of its own name once and keeps what `convert` makes of it; `Maybe` does
so for a field that may be unset, which is None then. The message itself is `.proto`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Self, TypeVar, overload

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.struct_pb2 import Value as JsonValue
from google.protobuf.timestamp_pb2 import Timestamp

M = TypeVar("M", bound=Message)
T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Value(Generic[M]):
    """Wraps a message, which must not be changed afterwards. Equal when the messages are."""

    def __init__(self, proto: M) -> None:
        self.proto = proto

    @classmethod
    def field_names(cls) -> list[str]:
        return [name for name, field in vars(cls).items() if isinstance(field, Field)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.proto == other.proto

    __hash__ = None  # type: ignore[assignment]  # as messages: compared by content, not hashed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._title()}>"

    def _title(self) -> str:
        return " ".join(str(self.proto).split())


class Field(Generic[T]):
    def __init__(self, convert: Callable[[Any], T]) -> None:
        self._convert = convert
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, value: None, owner: type) -> Self: ...
    @overload
    def __get__(self, value: Value[Any], owner: type) -> T: ...
    def __get__(self, value: Value[Any] | None, owner: type) -> T | Self:
        if value is None:
            return self
        # Kept under the same name in the instance, which is found before this descriptor the next time.
        found = value.__dict__[self._name] = self._read(value.proto)
        return found

    def _read(self, message: Any) -> T:
        return self._convert(getattr(message, self._name))


class Maybe(Field[T | None], Generic[T]):
    def __init__(self, convert: Callable[[Any], T]) -> None:
        super().__init__(convert)

    def _read(self, message: Any) -> T | None:
        return super()._read(message) if message.HasField(self._name) else None


def many(convert: Callable[[Any], T]) -> Callable[[Iterable[Any]], list[T]]:
    """For the values of a repeated field."""
    return lambda values: [convert(value) for value in values]


class Word(StrEnum):
    """An enum of the contract: its names without their prefix, in the order of their numbers.

    Equal to plain strings: `trace.status == "COMPLETED"`. A number that this client does not know is
    read as UNSPECIFIED.
    """

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
        return name

    @classmethod
    def read(cls, number: int) -> Self:
        words = list(cls)
        return words[number] if 0 <= number < len(words) else words[0]

    @property
    def number(self) -> int:
        return list(type(self)).index(self)


def moment(timestamp: Timestamp) -> datetime:
    """An aware datetime in UTC; what is finer than a microsecond is cut off."""
    return EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def duration(value: float) -> Duration:
    whole = int(value)
    return Duration(seconds=whole, nanos=round((value - whole) * 1e9))


def plain(struct: Struct) -> dict[str, Any]:
    """A Struct as a dict; whole numbers come back as int, as they are sent as double."""
    return {name: _plain(struct.fields[name]) for name in struct.fields}


def _plain(value: JsonValue) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain(value.struct_value)
        case "list_value":
            return [_plain(item) for item in _items(value.list_value)]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _items(values: ListValue) -> Iterable[JsonValue]:
    return values.values
