"""How much a session may use, and whether it has used that up. No I/O and no clock: times are given.

Calls that were refused count for nothing. The tokens of calls in flight are not known before they end, so
that a session may pass its max_tokens by what these take.
"""

from __future__ import annotations

from dataclasses import dataclass

from rolltrace.v1.session_pb2 import Session
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import Glance


@dataclass(frozen=True, slots=True)
class Limits:
    """0 is none. `max_time` in seconds."""

    max_calls: int
    max_tokens: int
    max_time: float


NO_LIMITS = Limits(0, 0, 0.0)


def limits_of(session: Session, settings: Settings) -> Limits:
    """The session's own, and the gateway's where it says nothing."""
    own = session.limits
    return Limits(
        own.max_calls if own.HasField("max_calls") else settings.session_max_calls,
        own.max_tokens if own.HasField("max_tokens") else settings.session_max_tokens,
        own.max_time.ToNanoseconds() / 1e9 if own.HasField("max_time") else settings.session_max_time,
    )


def exceeded(limits: Limits, seen: Glance, *, created: int, in_flight: int, now: int) -> str:
    """Which limit one more call would pass, in words; empty when none.

    `in_flight` calls are admitted and not recorded. `created` and `now` in nanoseconds since 1970.
    """
    ended = seen.call_count - seen.refused_call_count
    if 0 < limits.max_calls <= ended + in_flight:
        return f"max_calls is {limits.max_calls}, and it has made {ended}, with {in_flight} more in flight"
    if 0 < limits.max_tokens <= seen.token_count:
        return f"max_tokens is {limits.max_tokens}, and its calls have taken {seen.token_count}"
    age = (now - created) / 1e9
    if 0 < limits.max_time <= age:
        return f"max_time is {limits.max_time:g} s, and it is {age:.1f} s old"
    return ""
