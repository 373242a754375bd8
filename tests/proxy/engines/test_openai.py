"""A server of which nothing is known but that it speaks OpenAI's API: it is asked for nothing of our own."""

from __future__ import annotations

import pytest

from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control.worker_fields import ENGINES as OF_CONTROL
from rolltrace_proxy.engines.known import ENGINES, engine_of
from rolltrace_proxy.engines.openai import OPENAI
from rolltrace_proxy.engines.vllm import VLLM
from rolltrace_proxy.rewrite import rewrite
from rolltrace_settings.understand import ENGINES as OF_SETTINGS


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("body", [b'{"messages":[] , "stream":true}', b'{"logprobs":true}', b"[]", b"{"])
def test_a_request_goes_on_as_it_came(endpoint: str, body: bytes) -> None:
    plan = rewrite(endpoint, body, enforced={}, model="", engine=OPENAI)
    assert plan.body == body
    assert plan.added == ()
    assert plan.unasked


def test_what_the_session_enforces_is_said_to_any_server() -> None:
    plan = rewrite(
        "chat/completions", b'{"model":"a"}', enforced={"temperature": 1.0}, model="b", engine=OPENAI
    )
    assert plan.body == b'{"model":"b","temperature":1}'


@pytest.mark.parametrize(
    ("engine", "detected", "expected"),
    [("", "", "vllm"), ("", "sglang", "sglang"), ("openai", "vllm", "openai"), ("", "new", "openai")],
)
def test_a_workers_engine_is_what_was_set_or_else_detected(engine: str, detected: str, expected: str) -> None:
    assert engine_of(Worker(engine=engine, detected_engine=detected)).name == expected


def test_every_engine_has_a_name_that_can_be_set() -> None:
    assert set(ENGINES) == set(OF_SETTINGS) == set(OF_CONTROL) - {""}
    assert ENGINES["vllm"] is VLLM
