"""REST calls while the control service takes connections and says nothing."""

from __future__ import annotations

import asyncio
from contextlib import closing
from socket import AF_UNIX, socket

import pytest

from rolltrace_proxy.rest import control
from rolltrace_store.control_socket import ControlSocket
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import gateway
from tests.proxy.rest.conftest import Rest
from tests.proxy.scripted import scripted, whole


async def test_a_control_that_hangs_is_waited_for_no_longer_than_that(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "DEADLINE", 0.3)
    address = ControlSocket(store.folder)
    with closing(address), socket(AF_UNIX) as silent:
        address.make_private()
        silent.bind(str(address.path))
        silent.listen()
        async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
            rest = Rest(gate, worker)
            for method, path in (
                ("GET", "/sessions/s"),
                ("GET", "/sessions/s/traces"),
                ("POST", "/sessions"),
            ):
                async with asyncio.timeout(30):
                    status, answer = await rest.ask(method, path)
                assert status == 504
                assert str(address.path) in str(answer)
            await rest.call()
