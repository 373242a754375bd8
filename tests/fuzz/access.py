"""Targets: keys and retries. Who gets in where, and what a repeat gets."""

from __future__ import annotations

import json
import re
from contextlib import suppress

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import replay, retry
from rolltrace_proxy.access import PLAIN, Access
from rolltrace_proxy.answer import fill
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.paths import Target
from rolltrace_settings.settings import Settings
from rolltrace_store.session_key import session_key, session_of_key
from tests.fuzz.answers import ASKED, dumped
from tests.fuzz.feed import Feed
from tests.proxy.samples import read_stream

SECRET = bytes(range(32))
_ADMIN = b"an-admin-token-of-this-length"
_STRICT = Access([_ADMIN], SECRET, Settings(auth="token"))
_OPEN = Access([], SECRET, Settings())


def session_keys(data: bytes) -> None:
    """A key opens its session; anything else is nobody's, unless it is the one spelling of a key."""
    feed = Feed(data)
    session_id = feed.chunk().decode(errors="replace") or "s"
    key = session_key(SECRET, session_id)
    assert session_of_key(SECRET, key) == session_id
    made_up = feed.rest().decode("utf-8", "surrogateescape")
    for given in (made_up, key + made_up[:1], key[:-1] + made_up[:1], "rt-" + made_up):
        opened = session_of_key(SECRET, given)
        assert opened is None or session_key(SECRET, opened) == given


def header_keys(data: bytes) -> None:
    """Any fields let in nobody but who holds the key, and no refusal repeats it."""
    feed = Feed(data)
    target = Target(feed.chunk().decode(errors="replace"), "/x", "", "x")
    words = {"K": session_key(SECRET, "k"), "P": PLAIN + "p", "A": _ADMIN.decode()}
    fields: list[tuple[str, str]] = []
    while feed:
        name = feed.choice(("Authorization", "authorization", "X-Api-Key", "x-other"))
        value = feed.choice(("", "Bearer ", "bearer  ", "Basic ")) + feed.text()
        fields.append((name, re.sub("[KPA]", lambda match: words[match[0]], value)))
    keyed = any(words["K"] in value for _, value in fields)
    admin = any(words["A"] in value for _, value in fields)
    for access in (_STRICT, _OPEN):
        try:
            admitted = access.admit(fields, target)
        except Refused as refused:
            _check_silent(refused, words)
            continue
        assert admitted.session_id in (target.session_id, "k" if keyed else "", *_plain(fields))
        assert access is _OPEN or admin or (keyed and admitted.session_id == "k")
    with suppress(Refused):
        _STRICT.admit_admin(fields)
        assert admin
    kept = _STRICT.forwarded(fields)
    assert not any(value for name, value in kept if name.lower() != "x-other")


def _plain(fields: list[tuple[str, str]]) -> list[str]:
    return [value.partition(PLAIN)[2].strip() for _, value in fields if PLAIN in value]


def _check_silent(refused: Refused, words: dict[str, str]) -> None:
    assert 400 <= refused.status < 500
    assert words["K"] not in refused.message
    assert words["A"] not in refused.message


def retries(data: bytes) -> None:
    """A recorded stream, given again, is recorded the same; a header makes no number of what is none."""
    feed = Feed(data)
    marked = retry.number(feed.text())
    assert 0 <= marked < 1 << 32
    asked = feed.choice([each for each in ASKED if each.captures])
    _, _, captured = read_stream(asked, [feed.rest()])
    trace = pb.Trace(endpoint=asked.endpoint, streamed=True, status=pb.CALL_STATUS_COMPLETED)
    fill(trace, captured)
    if captured.error is not None or not replay.replayable(trace):
        return
    kind, body = replay.replay(trace)
    if kind != replay.STREAM_TYPE:
        return
    _, after, again = read_stream(asked, [body])
    assert after == replay.DONE
    given = {completion.index: completion for completion in again.completions}
    for one in captured.completions:
        if one.message_json:  # of others the agent saw nothing that could be given again
            assert one.finish_reason == given[one.index].finish_reason
            assert _said(one) == _said(given[one.index])


def _said(completion: pb.Completion) -> str:
    """The message, which begins with a role whether the worker gave one or not."""
    message = json.loads(completion.message_json or b"{}")
    return dumped({"role": "assistant"} | message if isinstance(message, dict) else {"role": "assistant"})
