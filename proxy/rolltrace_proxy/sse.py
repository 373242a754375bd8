"""Server-sent events: bytes in, complete events out, whatever the split.

The grammar is WHATWG's (HTML, 9.2): lines end in LF, CR or CRLF, an event ends at an empty line, a line
that begins with a colon is a comment, several data lines are joined by LF, a byte order mark may open the
stream. The rules here:

- Nothing is lost or changed: the raw bytes of all events and the rest, joined, are the bytes fed.
- Nothing waits without need: comments and empty lines between events come out when their line ends.
- Every byte is looked at a fixed number of times, however finely the stream is cut.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EVENT_BYTES = 64 * 2**20

_BOM = b"\xef\xbb\xbf"
# Atomic groups: a CRLF must never be taken for CR and LF, two ends.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BETWEEN_EVENTS = re.compile(rb"(?:(?::[^\r\n]*)?(?>\r\n|\n|\r))+")


class EventTooLargeError(ValueError):
    """An event did not end within the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"one server-sent event is larger than {limit} bytes; it and what follows are not captured"
        )


class Event(NamedTuple):
    """raw is the event with its empty line; data its data lines joined, None when it has none.

    Of an event with one single line, raw[start:end] is data.
    """

    raw: bytes
    data: bytes | None = None
    start: int = 0
    end: int = 0

    def with_data(self, data: bytes) -> bytes:
        """The event's bytes with other data, which must be one line if the event's is."""
        if self.end:
            return b"%b%b%b" % (self.raw[: self.start], data, self.raw[self.end :])
        lines: list[bytes] = []
        for line in self.raw.splitlines(keepends=True):
            if _data_value(line.rstrip(b"\r\n")) is None:
                lines.append(line)
            elif data:
                ending = line[len(line.rstrip(b"\r\n")) :]
                lines.append(b"data: " + data.replace(b"\n", ending + b"data: ") + ending)
                data = b""
        return b"".join(lines)


def parse_event(raw: bytes) -> Event:
    """Reads one event, its empty line included or not."""
    body = raw.rstrip(b"\r\n")
    if body.startswith(b"data:") and b"\n" not in body and b"\r" not in body:
        start = 6 if body.startswith(b"data: ") else 5
        return Event(raw, body[start:], start, len(body))
    values = [value for line in body.splitlines() if (value := _data_value(line)) is not None]
    return Event(raw, b"\n".join(values) if values else None)


def _data_value(line: bytes) -> bytes | None:
    field, _, value = line.partition(b":")
    return value.removeprefix(b" ") if field == b"data" else None


def _whole_events(data: bytes) -> list[Event] | None:
    """The events of data which begins between events and holds nothing else; None for all other data."""
    *bodies, rest = data.split(b"\n\n")
    if rest or b"\r" in data:
        return None
    events: list[Event] = []
    for body in bodies:
        if not body.startswith(b"data: ") or b"\n" in body:
            return None
        events.append(Event(body + b"\n\n", body[6:], 6, len(body)))
    return events


class EventFramer:
    """Cuts a stream into events.

    An event may outgrow the limit by one feed; the next one raises, takes nothing, and leaves rest().
    """

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        # Up to here the buffer holds no end of an event.
        self._scanned = 0
        self._begun = False
        self._seen_cr = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that end in data, and what stands between events. Raises EventTooLargeError."""
        if self.is_between and (whole := _whole_events(data)) is not None:
            return whole
        buffer = self._buffer
        if len(buffer) > self._limit:
            raise EventTooLargeError(self._limit)
        buffer += data
        events: list[Event] = []
        at = self._skip_bom(events)
        if at is None:
            return events
        scan = self._scanned
        self._seen_cr = self._seen_cr or b"\r" in data
        while self._has_line_end(max(at, scan)):
            if buffer[at] in b":\r\n" and (match := _BETWEEN_EVENTS.match(buffer, at)):
                events.append(Event(bytes(match[0])))
                at = scan = match.end()
                continue
            # One byte back: the first line end of the two may have been the last byte scanned.
            start, end = self._find_event_end(max(at, scan - 1))
            if end < 0:
                scan = len(buffer)
                break
            if end == len(buffer) and buffer.endswith(b"\n\r"):
                scan = start  # a CRLF half here: its other half ends the event
                break
            events.append(parse_event(bytes(buffer[at:end])))
            at = scan = end
        else:
            scan = len(buffer)
        del buffer[:at]
        self._scanned = scan - at
        return events

    def _has_line_end(self, start: int) -> bool:
        buffer = self._buffer
        return buffer.find(b"\n", start) >= 0 or (self._seen_cr and buffer.find(b"\r", start) >= 0)

    def _find_event_end(self, start: int) -> tuple[int, int]:
        """Where the two line ends begin and end; -1 when there are none. Most streams know only LF."""
        if not self._seen_cr:
            found = self._buffer.find(b"\n\n", start)
            return found, found + 2 if found >= 0 else -1
        match = _EVENT_END.search(self._buffer, start)
        return match.span() if match else (-1, -1)

    @property
    def is_between(self) -> bool:
        """Whether what is fed next begins an event, in a stream that has begun and knows no CR."""
        return self._begun and not self._buffer and not self._seen_cr

    def take_line(self, data: bytes) -> bytes | None:
        """data, and before it the line that had begun: for who can read events by other means, which must
        end in LF. None when that may not be; then data has to be fed."""
        buffer = self._buffer
        if (
            b"\n" not in data
            or b"\r" in data
            or self._seen_cr
            or b"\n" in buffer
            or len(buffer) > self._limit
        ):
            return None
        whole = bytes(buffer) + data if buffer else data
        if not self._begun:
            if whole.startswith(_BOM) or len(whole) < len(_BOM):
                return None
            self._begun = True
        if buffer:
            self.rest()
        return whole

    def rest(self) -> bytes:
        """Takes out the bytes of the event that has not ended."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def _skip_bom(self, events: list[Event]) -> int | None:
        """Where the events begin in the buffer; None while a byte order mark may still be coming."""
        if self._begun:
            return 0
        head = bytes(self._buffer[:3])
        if len(head) < 3 and _BOM.startswith(head):
            return None
        self._begun = True
        if head != _BOM:
            return 0
        events.append(Event(_BOM))
        return 3
