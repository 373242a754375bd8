"""Who may call the control service, and what a session's key is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed
from grpc_reflection.v1alpha import reflection_pb2

from rolltrace.v1 import session_service_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_service_pb2 import SubscribeRequest
from rolltrace_client import AsyncClient, PermissionDenied, Unauthenticated
from rolltrace_store import Store
from rolltrace_store.session_key import session_key
from tests.control.conftest import SETTINGS, Control, controlling
from tests.control.details import Failed, read

ADMIN = "an-admin-token-of-the-tests"
TOKEN = replace(SETTINGS, auth="token", admin_token=ADMIN)
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVING = b"\x08\x01"
GET = pb.GetSessionRequest(session_id="s")

Metadata = tuple[tuple[str, str | bytes], ...]


@pytest.fixture
async def guarded(store: Store) -> AsyncGenerator[Control, None]:
    async with controlling(store, TOKEN) as control:
        yield control


def reflected(control: Control, metadata: Metadata = ()) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    ask: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = control.channel.stream_stream(REFLECTION)
    return ask(metadata=metadata)


async def denied(control: Control, metadata: Metadata) -> Failed:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await control.sessions.GetSession(GET, metadata=metadata)
    return read(raised.value)


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "TOKEN_MISSING"),
        ((("x-api-key", ADMIN),), "TOKEN_MISSING"),
        ((*bearer(ADMIN), *bearer(ADMIN)), "TOKEN_AMBIGUOUS"),
        ((*bearer(ADMIN), *bearer("x")), "TOKEN_AMBIGUOUS"),
        (bearer(""), "TOKEN_INVALID"),
        (bearer(ADMIN + "x"), "TOKEN_INVALID"),
        (bearer(ADMIN[:-1]), "TOKEN_INVALID"),
        (bearer("rt-cw.AAAA"), "TOKEN_INVALID"),
        ((("authorization", ADMIN),), "TOKEN_INVALID"),
        ((("authorization", f"Basic {ADMIN}"),), "TOKEN_INVALID"),
    ],
)
async def test_without_the_token_no_call_is_answered(
    guarded: Control, metadata: Metadata, reason: str
) -> None:
    failed = await denied(guarded, metadata)
    info = failed.detail(rpc.ErrorInfo)
    assert (failed.code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert ADMIN[:-1] not in failed.message


async def test_a_sessions_key_opens_nothing_here(guarded: Control, store: Store) -> None:
    key = session_key(await store.read(lambda view: view.secret()), "s")
    failed = await denied(guarded, bearer(key))
    assert failed.code == grpc.StatusCode.PERMISSION_DENIED
    assert failed.detail(rpc.ErrorInfo).reason == "TOKEN_OF_SESSION"
    assert key not in failed.message


async def test_a_stream_is_denied_before_it_begins(guarded: Control) -> None:
    for stream in (
        guarded.traces.Subscribe(SubscribeRequest()),
        reflected(guarded),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stream.read()
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_health_is_for_everybody(guarded: Control) -> None:
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(
        "/grpc.health.v1.Health/Check"
    )
    assert await check(b"") == SERVING


async def test_with_the_token_everything_is_answered(guarded: Control) -> None:
    made = await guarded.sessions.CreateSession(pb.CreateSessionRequest(), metadata=bearer(ADMIN))
    assert made.session.api_key.startswith("rt-")
    stream = reflected(guarded, bearer(ADMIN))
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    assert b"rolltrace.v1.SessionService" in cast(bytes, await stream.read())
    await stream.done_writing()


async def test_every_session_that_is_shown_has_its_key(guarded: Control, store: Store) -> None:
    secret = await store.read(lambda view: view.secret())
    async with AsyncClient(f"127.0.0.1:{guarded.port}", token=ADMIN) as client:
        made = [await client.create_session("a", request_id="r") for _ in range(2)]
        made += await client.create_sessions([{"session_id": "b"}])
        made += [session async for session in client.list_sessions()]
        made += [await client.get_session("a"), await client.seal_session("a")]
    assert len(made) == 7
    for session in made:
        assert session.api_key == session_key(secret, session.session_id)
        assert session.api_key not in repr(session)


async def test_no_key_is_kept(guarded: Control, store: Store, tmp_path: Path) -> None:
    request = pb.CreateSessionRequest(session=Session(session_id="s"), request_id="r")
    made = await guarded.sessions.CreateSession(request, metadata=bearer(ADMIN))
    kept = await store.read(lambda view: view.session("s"))
    assert kept is not None
    assert kept.api_key == ""
    environment = b"".join(path.read_bytes() for path in (tmp_path / "db").glob("*.mdb"))
    assert made.session.api_key.encode() not in environment


async def test_the_client_says_what_to_give(
    guarded: Control, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"127.0.0.1:{guarded.port}"
    async with AsyncClient(target) as client:
        with pytest.raises(Unauthenticated, match="ROLLTRACE_ADMIN_TOKEN"):
            await client.status()
        with pytest.raises(Unauthenticated):
            await anext(client.subscribe())
    key = session_key(await store.read(lambda view: view.secret()), "s")
    async with AsyncClient(target, token=key) as client:
        with pytest.raises(PermissionDenied):
            await client.status()
    monkeypatch.setenv("ROLLTRACE_ADMIN_TOKEN", ADMIN)
    async with AsyncClient(target) as client:
        assert (await client.status()).worker_count == 0
