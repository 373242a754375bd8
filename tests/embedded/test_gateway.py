"""The life of a gateway inside a trainer: in threads, in loops, twice, and when it does not start."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from openai import AsyncOpenAI, OpenAI

import rolltrace
from rolltrace_client import AsyncClient
from rolltrace_demo.worker_server import DemoWorker
from tests.embedded.processes import descendants, until

TOKEN = "a-token-of-the-admin"
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


async def model(request: dict[str, object]) -> rolltrace.Sample:
    return rolltrace.Sample(text="trainer", token_ids=[5], logprobs=[-1.0], prompt_token_ids=[1, 2])


def ask(gateway: rolltrace.Gateway, session_id: str, model: str = "m", api_key: str = "unused") -> str | None:
    with OpenAI(base_url=gateway.base_url(session_id), api_key=api_key, max_retries=0) as agent:
        answer = agent.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
    return answer.choices[0].message.content


@pytest.fixture(autouse=True)
def nothing_stays() -> None:
    """Every test begins, and so ended, without a child."""
    until(lambda: not services(), f"these stay: {services()}")


def services() -> set[int]:
    return {pid for pid in descendants(os.getpid()) if _command(pid).count("rolltrace_client.leash")}


def _command(pid: int) -> str:
    asked = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def start_unsignalled(gateway: rolltrace.Gateway) -> None:
    """In a thread that takes no signals, as those of a trainer may be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    gateway.start()


def test_two_at_once_from_other_threads_leave_the_trainer_alone() -> None:
    before = [signal.getsignal(number) for number in HANDLED]
    gateways = [rolltrace.Gateway(handler=model), rolltrace.Gateway(handler=model, proxies=2)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.set_inheritable(True)
        address: tuple[str, int] = taken.getsockname()
        threads = [threading.Thread(target=start_unsignalled, args=(gateway,)) for gateway in gateways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    try:
        assert [signal.getsignal(number) for number in HANDLED] == before
        socket.create_server(address).close()  # nobody inherited it
        first, second = gateways
        assert first.url != second.url
        assert ask(first, "a/b:0") == ask(second, "a/b:0") == "trainer"
        assert [next(gateway.client.list_sessions()).session_id for gateway in gateways] == ["a/b:0", "a/b:0"]
        with pytest.raises(TypeError, match=r"hand gateway\.url and gateway\.target to others"):
            pickle.dumps(first)
    finally:
        for gateway in gateways:
            folder, began = Path(gateway.db_path).parent, time.monotonic()
            gateway.close()
            gateway.close()
            assert time.monotonic() - began < 30, "it did not hear that it is to stop"
            assert not folder.exists()
    with pytest.raises(RuntimeError, match="not up"):
        _ = first.url


async def test_in_a_loop_that_goes_on_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    loop = asyncio.get_running_loop()
    ran_in: list[asyncio.AbstractEventLoop] = []

    async def here(request: dict[str, object]) -> rolltrace.Sample:
        ran_in.append(asyncio.get_running_loop())
        return await model(request)

    with pytest.raises(RuntimeError, match="use `async with`"):
        rolltrace.Gateway(handler=here, loop=loop).start()
    async with rolltrace.Gateway(handler=here, loop=loop) as gateway:
        assert ticks > 5, "its start blocked the loop"
        async with AsyncOpenAI(base_url=gateway.base_url("s"), api_key="unused") as agent:
            await agent.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        async with AsyncClient(gateway.target) as client:
            traces = [trace async for trace in client.list_traces("s")]
        assert [trace.capture_gaps for trace in traces] == [[]]
        with pytest.raises(RuntimeError, match=r"await aclose\(\)"):
            gateway.close()
        at_close = ticks
    assert ticks > at_close, "its end blocked the loop"
    assert ran_in == [loop]
    ticking.cancel()


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    gateway = rolltrace.Gateway(handler=model)
    starting = asyncio.create_task(gateway.__aenter__())
    await asyncio.to_thread(until, lambda: bool(services()), "nothing starts")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not services()


async def test_beside_other_workers_each_serves_its_models(tmp_path: Path) -> None:
    async with DemoWorker(model="demo") as demo:
        workers = [{"url": demo.url, "model_name": "demo"}]
        kept = tmp_path / "kept"
        gateway = rolltrace.Gateway(workers=workers, handler=model, model_name="mine", db_path=kept)
        async with gateway:
            assert await asyncio.to_thread(ask, gateway, "s", "mine") == "trainer"
            assert await asyncio.to_thread(ask, gateway, "s", "demo") != "trainer"
    # A kept environment is read again, and its worker of an earlier trainer is replaced.
    with rolltrace.Gateway(handler=model, db_path=kept) as gateway:
        assert gateway.db_path == str(kept)
        assert len(list(gateway.client.list_traces("s"))) == 2
        assert await asyncio.to_thread(ask, gateway, "t", "mine") == "trainer"
        assert [worker.worker_id for worker in gateway.client.list_workers()].count("trainer") == 1
    with rolltrace.Gateway(db_path=kept) as gateway:
        assert "trainer" not in [worker.worker_id for worker in gateway.client.list_workers()]
    assert kept.exists()


def test_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLTRACE_ADMIN_TOKEN", "that-of-another-gateway")
    with rolltrace.Gateway(handler=model, auth="token", admin_token=TOKEN) as gateway:
        session = gateway.client.create_session()
        assert ask(gateway, session.session_id, api_key=session.api_key) == "trainer"


def test_a_start_that_fails_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(rolltrace.GatewayError, match=f"127.0.0.1:{port} is taken") as failed:
            rolltrace.Gateway(port=port).start()
    assert "did not come up, status 1" in str(failed.value)
    with pytest.raises(rolltrace.GatewayError, match=r"status 2:\n.*no_such_module"):
        rolltrace.Gateway(redact="no_such_module:hook").start()
    assert "the services have ended" not in caplog.text, "that is for those that were up"


def test_a_start_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(rolltrace.GatewayError, match=r"were not healthy within start_timeout, 0\.01 s"):
        rolltrace.Gateway(handler=model, start_timeout=0.01).start()


def test_services_that_end_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with rolltrace.Gateway():
        (up,) = {pid for pid in services() if "rolltrace_embedded.up" in _command(pid)}
        os.kill(up, signal.SIGKILL)
        until(lambda: "the services have ended with status -9" in caplog.text, "nobody says so")
