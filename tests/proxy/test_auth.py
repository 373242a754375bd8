"""Who gets in at the proxy, and what of their credentials goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from rolltrace_settings.settings import Settings
from rolltrace_store.interface import Store
from rolltrace_store.session_key import session_key
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import CHAT, Gateway, gateway, row, with_settings
from tests.proxy.scripted import Seen, scripted, whole

ADMIN, NEW = "an-admin-token-of-the-tests", "another-token-of-the-tests"
TOKEN = with_settings(auth="token", admin_token=ADMIN)
CALL = "/sessions/s/v1/chat/completions"

Headers = Sequence[tuple[str, str]]


def bearer(key: str) -> Headers:
    return [("Authorization", f"Bearer {key}")]


async def key_of(store: Store, session_id: str = "s") -> str:
    return session_key(await store.read(lambda view: view.secret()), session_id)


@asynccontextmanager
async def guarded(
    store: Store, settings: Settings = TOKEN
) -> AsyncGenerator[tuple[Gateway, list[Seen]], None]:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker, settings=settings) as gate:
        yield gate, worker.seen


async def post(gate: Gateway, path: str, headers: Headers = ()) -> tuple[int, str]:
    """The status, and the code of the error."""
    url = URL(gate.proxy.url + path, encoded=True)
    async with gate.http.post(url, json=CHAT, headers=list(headers)) as response:
        if response.status == 200:
            return 200, response.headers.get("x-rolltrace-session-id", "")
        error = (await response.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert ("WWW-Authenticate" in response.headers) == (response.status == 401)
        for _, value in headers:
            key = value.split()[-1]
            assert len(key) < 8 or key not in await response.text()
        return response.status, error["code"]


async def get(gate: Gateway, path: str, headers: Headers = ()) -> int:
    async with gate.http.get(gate.proxy.url + path, headers=list(headers)) as response:
        return response.status


async def test_a_sessions_key_opens_its_path(store: Store) -> None:
    key, other = await key_of(store), await key_of(store, "other")
    async with guarded(store) as (gate, seen):
        assert await post(gate, CALL, bearer(key)) == (200, "s")
        assert await post(gate, CALL, [("X-Api-Key", key)]) == (200, "s")
        assert await post(gate, CALL, [("authorization", f"bearer   {key} ")]) == (200, "s")
        assert await post(gate, CALL, bearer(ADMIN)) == (200, "s")
        assert len(await gate.traces()) == len(seen) == 4
        assert await post(gate, CALL, bearer(other)) == (403, "permission_denied")
        assert len(await gate.traces()) == len(seen) == 4
        assert not await gate.traces("other")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer(""),
        bearer("unused"),
        bearer("session:s"),
        bearer(ADMIN + "x"),
        bearer(ADMIN[:-1]),
        bearer("rt-cw.AAAA"),
        [("Authorization", "Basic czpz")],
        [("Authorization", ADMIN)],
        [("Authorization", "Basic czpz"), ("x-api-key", ADMIN)],
        [("Cookie", f"key={ADMIN}")],
    ],
    ids=str,
)
async def test_without_a_key_nobody_gets_in(store: Store, headers: Headers) -> None:
    async with guarded(store) as (gate, seen):
        for path in (CALL, "/v1/chat/completions"):
            assert await post(gate, path, headers) == (401, "invalid_api_key")
        for path in ("/metrics", "/health/workers"):
            assert await get(gate, path, headers) == 401
        assert await get(gate, "/health", headers) == 200
        assert not seen
        assert not await gate.traces()
        async with gate.http.get(gate.proxy.url + "/metrics", headers=dict(bearer(ADMIN))) as response:
            assert 'rolltrace_denied_total{reason="invalid_api_key"} 4.0' in await response.text()


async def test_what_is_of_no_session_is_the_admins(store: Store) -> None:
    key = await key_of(store)
    async with guarded(store) as (gate, _):
        for path in ("/metrics", "/health/workers"):
            assert await get(gate, path, bearer(key)) == 403
            assert await get(gate, path, bearer(ADMIN)) == 200
            assert await get(gate, path + "/", bearer(ADMIN)) == 404


async def test_a_key_names_the_session_where_the_path_does_not(store: Store) -> None:
    key = await key_of(store, "harbor/hello:0")
    async with guarded(store) as (gate, seen):
        assert await post(gate, "/v1/chat/completions", bearer(key)) == (200, "harbor/hello:0")
        assert await post(gate, "/v1/chat/completions", bearer(ADMIN)) == (200, "")
        assert len(seen) == 2
        assert [trace.endpoint for trace in await gate.traces("harbor/hello:0")] == ["chat/completions"]


async def test_without_auth_a_key_still_names_its_session(store: Store) -> None:
    key = await key_of(store)
    async with guarded(store, with_settings()) as (gate, _):
        assert await post(gate, "/v1/chat/completions", bearer(key)) == (200, "s")
        assert await post(gate, "/v1/chat/completions", bearer("session:harbor/hello:0")) == (
            200,
            "harbor/hello:0",
        )
        assert await post(gate, "/v1/chat/completions", bearer("sk-of-another")) == (200, "")
        assert await post(gate, CALL, bearer("sk-of-another")) == (200, "s")
        assert await post(gate, CALL, bearer("session:s")) == (200, "s")
        assert await post(gate, CALL, bearer("session:t")) == (403, "permission_denied")
        assert await post(gate, CALL, bearer(key[:-1])) == (401, "invalid_api_key")
        assert await post(gate, "/v1/chat/completions", bearer(key[:-1])) == (401, "invalid_api_key")
        assert await post(gate, "/v1/chat/completions", bearer("session:a//b")) == (400, "invalid_session_id")
        assert await get(gate, "/metrics") == 200


async def test_two_keys_are_nobodys(store: Store) -> None:
    key, other = await key_of(store), await key_of(store, "other")
    async with guarded(store) as (gate, seen):
        for pair in ((key, key), (key, other), (other, ADMIN)):
            assert await post(gate, CALL, [*bearer(pair[0]), *bearer(pair[1])]) == (400, "ambiguous_key")
            assert await post(gate, CALL, [("x-api-key", each) for each in pair]) == (400, "ambiguous_key")
            assert await post(gate, CALL, bearer(", Bearer ".join(pair))) == (401, "invalid_api_key")
        assert not seen


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sessions/%73/v1/chat/completions", 200),
        ("/sessions/s%2F/v1/chat/completions", 400),
        ("/sessions/other%2Fv1%2F..%2F..%2Fs/v1/chat/completions", 400),
        ("/sessions/s%2f..%2fother/v1/chat/completions", 400),
        ("/sessions/s/../other/v1/chat/completions", 400),
        ("/sessions/s/v1/../../other/v1/chat/completions", 400),
        ("/sessions/s/v1/%2e%2e/%2e%2e/other/v1/chat/completions", 400),
        ("/sessions/s/v1/..%2f..%2fother/v1/chat/completions", 400),
        ("/sessions/s/v1/..%5c..%5cother/v1/chat/completions", 400),
        ("/sessions/other%2fs/v1/chat/completions", 403),
        ("/sessions/S/v1/chat/completions", 403),
        ("/sessions/s%20/v1/chat/completions", 403),
        ("//sessions/other/v1/chat/completions", 404),
        ("/%73essions/other/v1/chat/completions", 404),
        ("/SESSIONS/other/v1/chat/completions", 404),
        ("/sessions/s%00/v1/chat/completions", 400),
    ],
)
async def test_no_spelling_of_a_path_opens_another_session(store: Store, path: str, status: int) -> None:
    key = await key_of(store)
    async with guarded(store) as (gate, seen):
        assert (await post(gate, path, bearer(key)))[0] == status
        sessions = await store.read(lambda view: [session.session_id for session in view.sessions()])
        assert sessions == (["s"] if status == 200 else [])
        assert len(seen) == len(sessions)


SENT = [
    ("Authorization", "Bearer sk-of-the-agent"),
    ("X-Api-Key", "sk-of-the-agent"),
    ("api-key", "sk-of-the-agent"),
    ("Cookie", "a=sk-of-the-agent"),
]


async def test_an_agents_credentials_stay_here(store: Store) -> None:
    async with guarded(store, with_settings()) as (gate, seen):
        assert await post(gate, CALL, SENT) == (200, "s")
    assert not {name.lower() for name in seen[0].headers} & {name.lower() for name, _ in SENT}


async def test_they_go_on_when_told_so_but_never_our_own_keys(store: Store) -> None:
    key = await key_of(store)
    settings = with_settings(forward_authorization=True)
    async with guarded(store, settings) as (gate, seen):
        assert await post(gate, CALL, SENT) == (200, "s")
        assert await post(gate, CALL, [*bearer(key), ("x-api-key", key), ("cookie", "a=1")]) == (200, "s")
        assert await post(gate, CALL, bearer("session:s")) == (200, "s")
    assert all(seen[0].headers[name] == value for name, value in SENT)
    assert seen[1].headers["Cookie"] == "a=1"
    assert all("Authorization" not in each.headers and "x-api-key" not in each.headers for each in seen[1:])


async def test_the_admin_token_goes_no_further(store: Store) -> None:
    settings = with_settings(auth="token", admin_token=ADMIN, forward_authorization=True)
    async with guarded(store, settings) as (gate, seen):
        assert await post(gate, CALL, [*bearer(ADMIN), ("x-api-key", ADMIN)]) == (200, "s")
    assert ADMIN not in str(seen[0].headers)


async def test_a_workers_own_key_is_sent_in_place_of_the_agents(store: Store) -> None:
    key = await key_of(store)
    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, row(worker, api_key="sk-of-the-worker"), settings=TOKEN) as gate:
            assert await post(gate, CALL, bearer(key)) == (200, "s")
    assert worker.seen[0].headers.getall("Authorization") == ["Bearer sk-of-the-worker"]


async def test_a_malformed_field_is_in_no_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with guarded(store) as (gate, seen):
        port = URL(gate.proxy.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {CALL} HTTP/1.1\r\nHost: h\r\nAuthorization : Bearer {ADMIN}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert not seen
    assert ADMIN not in caplog.text


async def test_tokens_are_read_again(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(ADMIN + "\n")
    async with guarded(store, with_settings(auth="token", admin_token_file=str(path))) as (gate, _):
        path.write_text(f"{NEW}\n{ADMIN}\n")
        assert await get(gate, "/metrics", bearer(NEW)) == 401
        gate.proxy.reload()
        assert await get(gate, "/metrics", bearer(NEW)) == await get(gate, "/metrics", bearer(ADMIN)) == 200
        path.write_text(NEW)
        gate.proxy.reload()
        assert await get(gate, "/metrics", bearer(ADMIN)) == 401
        path.write_text("")
        gate.proxy.reload()
        assert await get(gate, "/metrics", bearer(NEW)) == 200
