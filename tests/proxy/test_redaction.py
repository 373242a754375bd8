"""The operator's own word on what is recorded of a body."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.redaction import load_hook
from rolltrace_settings.errors import SettingsError
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import CHAT, gateway, with_settings
from tests.proxy.scripted import scripted, whole

SECRET = "the-card-number"
SECRET_CALL = {**CHAT, "messages": [{"role": "user", "content": SECRET}]}


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    """Makes a function importable; gives its name."""

    def install(function: object) -> str:
        module = types.ModuleType("a_hook")
        module.__dict__["redact"] = function
        monkeypatch.setitem(sys.modules, "a_hook", module)
        return "a_hook:redact"

    return install


async def test_what_is_redacted_reaches_the_worker_and_not_the_store(
    store: Store, hook: Callable[[object], str]
) -> None:
    heard: list[str] = []

    def redact(body: bytes, endpoint: str) -> bytes:
        heard.append(endpoint)
        return body.replace(SECRET.encode(), b"***")

    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, worker, settings=with_settings(redact=hook(redact))) as gate:
            async with gate.http.post(gate.url(), json=SECRET_CALL) as response:
                assert response.status == 200
            trace = await gate.trace()
            again = {"x-stainless-retry-count": "1"}
            async with gate.http.post(gate.url(), json=SECRET_CALL, headers=again) as response:
                assert response.headers["x-rolltrace-replayed"]
    assert heard == ["chat/completions"] * 2
    assert SECRET.encode() in worker.seen[0].body
    assert len(worker.seen) == 1
    assert SECRET.encode() not in trace.SerializeToString()
    assert b"***" in trace.request_json
    assert not trace.capture_gaps


def raises(body: bytes, endpoint: str) -> bytes:
    raise ValueError(body)


def forgets(body: bytes, endpoint: str) -> None:
    return None


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (raises, "the redact function raised ValueError"),
        (forgets, "the redact function returned NoneType, not bytes"),
    ],
)
async def test_a_body_that_could_not_be_redacted_is_not_kept(
    store: Store,
    hook: Callable[[object], str],
    caplog: pytest.LogCaptureFixture,
    function: object,
    why: str,
) -> None:
    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, worker, settings=with_settings(redact=hook(function))) as gate:
            async with gate.http.post(gate.url(), json=SECRET_CALL) as response:
                assert response.status == 200
            trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_COMPLETED
    assert trace.request_json == b""
    assert [(gap.kind, gap.message) for gap in trace.capture_gaps] == [(pb.CAPTURE_GAP_KIND_REQUEST, why)]
    assert why in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "no_such_module_here:redact",
            "cannot be imported .ModuleNotFoundError.; install it",
        ),
        ("json:nothing", "json has no function 'nothing'; it takes"),
        ("json:__name__", "json has no function '__name__'"),
    ],
)
def test_a_hook_that_is_none(name: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        load_hook(name)


def test_no_hook() -> None:
    assert load_hook("") is None
