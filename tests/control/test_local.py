"""The socket on which the proxies of an environment reach control: who gets in, and what lies in its way."""

from __future__ import annotations

import logging
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest

from rolltrace.v1 import session_service_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2_grpc import SessionServiceStub
from rolltrace_store import Store, open_store
from rolltrace_store.control_socket import ControlSocket
from tests.control.conftest import CHANNEL, OPTIONS, SETTINGS, controlling
from tests.control.details import failure

if TYPE_CHECKING:  # the stubs have these names for checkers only
    from rolltrace.v1.session_service_pb2_grpc import SessionServiceAsyncStub

TOKEN = replace(SETTINGS, auth="token", admin_token="an-admin-token-of-the-tests")


@asynccontextmanager
async def beside(store: Store) -> AsyncGenerator[SessionServiceAsyncStub, None]:
    """Control's sessions, reached as a proxy of the environment does."""
    with closing(ControlSocket(store.folder)) as place:
        target = place.target()
        assert target is not None
        async with grpc.aio.insecure_channel(target, options=CHANNEL) as channel:
            yield SessionServiceStub(channel)


async def create(sessions: SessionServiceAsyncStub, session_id: str) -> None:
    await sessions.CreateSession(pb.CreateSessionRequest(session=Session(session_id=session_id)))


def place_of(store: Store) -> Path:
    with closing(ControlSocket(store.folder)) as place:
        return place.path


async def test_a_proxy_beside_needs_no_token_and_others_do(store: Store) -> None:
    async with controlling(store, TOKEN) as control, beside(store) as sessions:
        await create(sessions, "s")
        failed = await failure(control.sessions.GetSession(pb.GetSessionRequest(session_id="s")))
        assert failed.code == grpc.StatusCode.UNAUTHENTICATED


async def test_errors_have_their_details_there_too(store: Store) -> None:
    async with controlling(store), beside(store) as sessions:
        failed = await failure(sessions.GetSession(pb.GetSessionRequest(session_id="s")))
        assert failed.code == grpc.StatusCode.NOT_FOUND


async def test_nobody_else_gets_near_the_socket(store: Store) -> None:
    place = place_of(store)
    place.parent.chmod(0o777)
    async with controlling(store):
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert not place.exists()


async def test_the_socket_of_a_control_that_died_is_in_nobodys_way(store: Store) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place_of(store)))
    async with controlling(store), beside(store) as sessions:
        await create(sessions, "s")


async def test_control_serves_trainers_where_it_can_have_no_socket(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    place_of(store).mkdir()
    with caplog.at_level(logging.WARNING):
        async with controlling(store) as control:
            await create(control.sessions, "s")
    assert "proxies can't answer REST calls" in caplog.text


@pytest.mark.parametrize("name", ["d" * 150, "a b%20#?ü"], ids=["long", "odd"])
async def test_the_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    store = open_store(tmp_path / name, OPTIONS)
    try:
        async with controlling(store), beside(store) as sessions:
            await create(sessions, "s")
    finally:
        await store.close()
