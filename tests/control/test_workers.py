"""WorkerService, as a caller of the stubs sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace.v1 import worker_pb2
from rolltrace.v1 import worker_service_pb2 as pb
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control import workers as service
from rolltrace_control.server import serve
from rolltrace_settings.settings import WorkerSetting
from rolltrace_store import ProxyReport, Store
from tests.control.conftest import SETTINGS, Control, connected, controlling
from tests.control.details import failure
from tests.control.subscriber import head, truth

URL = "http://10.0.0.7:8000"


async def register(control: Control, request_id: str = "", **fields: object) -> Worker:
    worker = Worker(**fields)  # type: ignore[arg-type]
    request = pb.RegisterWorkerRequest(worker=worker, request_id=request_id)
    return (await control.workers.RegisterWorker(request)).worker


async def listed(control: Control, page_size: int = 0) -> list[Worker]:
    request, found = pb.ListWorkersRequest(page_size=page_size), list[Worker]()
    while True:
        page = await control.workers.ListWorkers(request)
        found += page.workers
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def stored(store: Store, worker_id: str) -> Worker:
    worker = await store.read(lambda view: view.worker(worker_id))
    assert worker is not None
    return worker


async def test_what_is_left_out_is_filled_in(control: Control) -> None:
    worker = await register(control, url=URL + "/")
    assert worker.register_time.seconds > 0
    worker.ClearField("register_time")
    assert worker == Worker(
        worker_id="10.0.0.7:8000",
        url=URL,
        weight=1.0,
        api_path="/v1",
        state=worker_pb2.WORKER_STATE_ACTIVE,
        health=worker_pb2.WORKER_HEALTH_UNKNOWN,
    )


@pytest.mark.parametrize(
    ("given", "url", "api_path", "worker_id"),
    [
        ("http://h:8000/v1", "http://h:8000", "/v1", "h:8000"),
        ("http://h:8000/v1/", "http://h:8000", "/v1", "h:8000"),
        ("http://h:8000/a/v1", "http://h:8000/a", "/v1", "h:8000"),
        ("https://h/api", "https://h/api", "/v1", "h:443"),
        ("http://h", "http://h", "/v1", "h:80"),
        ("http://[::1]:8000", "http://[::1]:8000", "/v1", "::1:8000"),
    ],
)
async def test_a_url_is_taken_apart(
    control: Control, given: str, url: str, api_path: str, worker_id: str
) -> None:
    worker = await register(control, url=given)
    assert (worker.url, worker.api_path, worker.worker_id) == (url, api_path, worker_id)


async def test_an_api_path_of_its_own_wins(control: Control) -> None:
    assert (await register(control, url="http://h/v1", api_path="/openai/")).api_path == "/openai"
    assert (await register(control, url="http://h2", api_path="/")).api_path == "/"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "worker.url"),
        ({"url": "h:8000"}, "worker.url"),
        ({"url": "ftp://h"}, "worker.url"),
        ({"url": "http://"}, "worker.url"),
        ({"url": "http://h:99999"}, "worker.url"),
        ({"url": "http://user:secret@h"}, "worker.url"),
        ({"url": "http://h?x=1"}, "worker.url"),
        ({"url": URL, "worker_id": "a b"}, "worker.worker_id"),
        ({"url": URL, "weight": -1.0}, "worker.weight"),
        ({"url": URL, "weight": 1001.0}, "worker.weight"),
        ({"url": URL, "weight": float("nan")}, "worker.weight"),
        ({"url": URL, "engine": "tgi"}, "worker.engine"),
        ({"url": URL, "api_path": "v1"}, "worker.api_path"),
        ({"url": URL, "state": worker_pb2.WORKER_STATE_DRAINING}, "worker.state"),
        ({"url": URL, "health": worker_pb2.WORKER_HEALTH_HEALTHY}, "worker.health"),
    ],
)
async def test_a_bad_worker_names_its_field(control: Control, fields: dict[str, object], field: str) -> None:
    request = pb.RegisterWorkerRequest(worker=Worker(**fields))  # type: ignore[arg-type]
    failed = await failure(control.workers.RegisterWorker(request))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert "secret" not in failed.message


async def test_a_key_is_kept_and_never_shown(control: Control, store: Store) -> None:
    worker = await register(control, request_id="r", url=URL, api_key="secret")
    assert (await stored(store, worker.worker_id)).api_key == "secret"
    mask = FieldMask(paths=["weight"])
    changed = pb.UpdateWorkerRequest(worker=Worker(worker_id=worker.worker_id, weight=2), update_mask=mask)
    shown = [worker, *await listed(control), (await control.workers.UpdateWorker(changed)).worker]
    shown.append(await register(control, request_id="r", url=URL, api_key="secret"))
    assert not any(each.api_key for each in shown)
    assert not any(b"secret" in record.body for record in await truth(store))
    assert (await stored(store, worker.worker_id)).api_key == "secret"


async def test_registering_again_updates_the_rest_and_keeps_what_is_known(
    control: Control, store: Store
) -> None:
    await register(control, worker_id="w", url=URL, engine="sglang", model_names=["a", "b"], weight=2.0)
    known = await stored(store, "w")
    known.state = worker_pb2.WORKER_STATE_CORDONED
    known.health = worker_pb2.WORKER_HEALTH_UNHEALTHY
    known.health_message = "refused"
    known.detected_engine = "vllm"
    await store.write(lambda view: view.put_worker(known))
    again = await register(control, worker_id="w", url=URL, model_names=["c"])
    assert (list(again.model_names), again.weight) == (["c"], 1.0)
    for name in ("state", "engine", "health", "health_message", "register_time", "detected_engine"):
        assert getattr(again, name) == getattr(known, name)
    state = worker_pb2.WORKER_STATE_ACTIVE
    assert (await register(control, worker_id="w", url=URL, state=state)).state == state


async def test_another_url_under_a_known_id_exists_already(control: Control) -> None:
    await register(control, worker_id="w", url=URL)
    request = pb.RegisterWorkerRequest(worker=Worker(worker_id="w", url="http://other"))
    failed = await failure(control.workers.RegisterWorker(request))
    assert failed.code == grpc.StatusCode.ALREADY_EXISTS
    assert failed.detail(rpc.ResourceInfo).resource_name == "w"
    assert URL in failed.message


async def test_nothing_is_logged_when_nothing_changes(control: Control, store: Store) -> None:
    await register(control, url=URL)
    before = await head(store)
    await register(control, url=URL)
    assert await head(store) == before


async def test_the_same_request_gets_the_same_answer(control: Control) -> None:
    first = await register(control, "r", url=URL)
    await register(control, url=URL, weight=5.0)
    assert await register(control, "r", url=URL) == first
    request = pb.RegisterWorkerRequest(worker=Worker(url="http://other"), request_id="r")
    failed = await failure(control.workers.RegisterWorker(request))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "request_id")


async def test_an_update_changes_what_the_mask_names(control: Control, store: Store) -> None:
    await register(control, worker_id="w", url=URL, model_names=["a"], weight=2.0, api_key="k")
    cordoned = worker_pb2.WORKER_STATE_CORDONED
    given = Worker(worker_id="w", state=cordoned, model_names=["b"], weight=9.0, url="http://other")
    request = pb.UpdateWorkerRequest(worker=given, update_mask=FieldMask(paths=["state", "model_names"]))
    request.request_id = "r"
    worker = (await control.workers.UpdateWorker(request)).worker
    assert (worker.state, list(worker.model_names)) == (cordoned, ["b"])
    assert (worker.weight, worker.url) == (2.0, URL)
    assert (await control.workers.UpdateWorker(request)).worker == worker
    cleared = FieldMask(paths=["model_names", "api_key", "weight"])
    request = pb.UpdateWorkerRequest(worker=Worker(worker_id="w"), update_mask=cleared)
    worker = (await control.workers.UpdateWorker(request)).worker
    assert (list(worker.model_names), worker.weight, worker.state) == ([], 1.0, cordoned)
    assert (await stored(store, "w")).api_key == ""


@pytest.mark.parametrize(
    ("paths", "fields", "field"),
    [
        ([], {}, "update_mask"),
        (["url"], {"url": URL}, "update_mask"),
        (["health"], {}, "update_mask"),
        (["*"], {}, "update_mask"),
        (["state"], {}, "worker.state"),
        (["state"], {"state": worker_pb2.WORKER_STATE_DRAINING}, "worker.state"),
        (["weight"], {"weight": -1.0}, "worker.weight"),
        (["weight"], {"worker_id": ""}, "worker.worker_id"),
    ],
)
async def test_an_update_that_cannot_be(
    control: Control, paths: list[str], fields: dict[str, object], field: str
) -> None:
    await register(control, worker_id="w", url=URL)
    worker = Worker(**{"worker_id": "w", **fields})  # type: ignore[arg-type]
    request = pb.UpdateWorkerRequest(worker=worker, update_mask=FieldMask(paths=paths))
    failed = await failure(control.workers.UpdateWorker(request))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_worker_that_is_not_there(control: Control) -> None:
    mask = FieldMask(paths=["weight"])
    calls = (
        control.workers.UpdateWorker(pb.UpdateWorkerRequest(worker=Worker(worker_id="w"), update_mask=mask)),
        control.workers.DeregisterWorker(pb.DeregisterWorkerRequest(worker_id="w")),
        control.workers.DeregisterWorker(
            pb.DeregisterWorkerRequest(worker_id="w", drain_timeout=Duration(seconds=60))
        ),
    )
    for call in calls:
        failed = await failure(call)
        assert failed.code == grpc.StatusCode.NOT_FOUND
        assert failed.detail(rpc.ResourceInfo).resource_name == "w"
    negative = pb.DeregisterWorkerRequest(worker_id="w", drain_timeout=Duration(seconds=-1))
    failed = await failure(control.workers.DeregisterWorker(negative))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "drain_timeout")


async def test_workers_are_listed_by_id_page_by_page(control: Control) -> None:
    names = ["c", "a", "b", "B", "a:1"]
    for name in names:
        await register(control, worker_id=name, url=f"http://{name.lower().replace(':', '.')}")
    for page_size in (0, 1, 2, 5):
        assert [worker.worker_id for worker in await listed(control, page_size)] == sorted(names)
    failed = await failure(control.workers.ListWorkers(pb.ListWorkersRequest(page_token="x")))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")


class Proxies:
    """The store, with proxies whose calls the test counts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.in_flight: Mapping[str, int] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def live_proxies(self) -> list[ProxyReport]:
        return [ProxyReport("p", 1, self.in_flight), ProxyReport("q", 2, {})]


@asynccontextmanager
async def with_proxies(
    store: Store, in_flight: Mapping[str, int]
) -> AsyncGenerator[tuple[Control, Proxies], None]:
    proxies = Proxies(store)
    proxies.in_flight = in_flight
    async with controlling(proxies) as control:  # type: ignore[arg-type]  # it passes the rest on
        await register(control, worker_id="w", url=URL)
        yield control, proxies


async def until_draining(store: Store) -> None:
    async with asyncio.timeout(10):
        while (await stored(store, "w")).state != worker_pb2.WORKER_STATE_DRAINING:
            await asyncio.sleep(0.01)


def deregister(seconds: float | None = None) -> pb.DeregisterWorkerRequest:
    request = pb.DeregisterWorkerRequest(worker_id="w", request_id="r")
    if seconds is not None:
        request.drain_timeout.FromMilliseconds(int(1000 * seconds))
    return request


async def test_a_drain_waits_for_the_calls(store: Store) -> None:
    async with with_proxies(store, {"w": 2, "v": 1}) as (control, proxies):
        call = asyncio.ensure_future(control.workers.DeregisterWorker(deregister(60)))
        await until_draining(store)
        await asyncio.sleep(service.SETTLE + 4 * service.POLL)
        assert not call.done()
        proxies.in_flight = {"v": 1}
        assert (await call).drained
        assert await listed(control) == []
        assert (await control.workers.DeregisterWorker(deregister(60))).drained


async def test_a_drain_waits_until_proxies_have_heard_of_it(store: Store) -> None:
    async with with_proxies(store, {}) as (control, proxies):
        call = asyncio.ensure_future(control.workers.DeregisterWorker(deregister(60)))
        await until_draining(store)
        proxies.in_flight = {"w": 1}
        await asyncio.sleep(service.SETTLE + 4 * service.POLL)
        assert not call.done()
        proxies.in_flight = {}
        assert (await call).drained


async def test_a_drain_ends_when_the_time_is_over(store: Store) -> None:
    async with with_proxies(store, {"w": 1}) as (control, _):
        assert not (await control.workers.DeregisterWorker(deregister(0.1))).drained
        assert await listed(control) == []


@pytest.mark.parametrize("calls", [0, 1])
async def test_without_a_drain_nobody_waits(store: Store, calls: int) -> None:
    async with with_proxies(store, {"w": calls}) as (control, _):
        assert (await control.workers.DeregisterWorker(deregister())).drained == (not calls)
        assert await listed(control) == []


async def test_a_shutdown_cuts_a_drain_short_and_asking_again_goes_on(store: Store) -> None:
    proxies = Proxies(store)
    proxies.in_flight = {"w": 1}
    async with AsyncExitStack() as later:
        async with serve(SETTINGS, proxies) as port:  # type: ignore[arg-type]  # it passes the rest on
            control = await later.enter_async_context(connected(port))
            await register(control, worker_id="w", url=URL)
            call = control.workers.DeregisterWorker(deregister(60))
            await until_draining(store)
        failed = await failure(call)
    assert failed.code == grpc.StatusCode.UNAVAILABLE
    assert failed.detail(rpc.RetryInfo).retry_delay.nanos > 0
    async with controlling(store) as control:
        assert (await listed(control))[0].state == worker_pb2.WORKER_STATE_DRAINING
        assert (await control.workers.DeregisterWorker(deregister(60))).drained


SETTING = WorkerSetting(url=URL, model_name="m", weight=2.0, api_key="k")


async def test_a_worker_of_the_settings_may_be_named(store: Store) -> None:
    settings = replace(SETTINGS, workers=(replace(SETTING, worker_id="named"),))
    async with controlling(store, settings) as control:
        (worker,) = (await control.workers.ListWorkers(pb.ListWorkersRequest())).workers
    assert (worker.worker_id, worker.url) == ("named", URL)


async def test_workers_of_the_settings_are_registered_once(store: Store) -> None:
    settings = replace(SETTINGS, workers=(SETTING, WorkerSetting(url="http://other:1/v1")))
    async with controlling(store, settings) as control:
        first, other = await listed(control)
        assert (first.worker_id, list(first.model_names), first.weight) == ("10.0.0.7:8000", ["m"], 2.0)
        assert (other.worker_id, other.url, list(other.model_names)) == ("other:1", "http://other:1", [])
        cordon = Worker(worker_id="other:1", state=worker_pb2.WORKER_STATE_CORDONED)
        mask = FieldMask(paths=["state"])
        await control.workers.UpdateWorker(pb.UpdateWorkerRequest(worker=cordon, update_mask=mask))
    before = await head(store)
    async with controlling(store, settings) as control:
        assert [worker.state for worker in await listed(control)] == [
            worker_pb2.WORKER_STATE_ACTIVE,
            worker_pb2.WORKER_STATE_CORDONED,
        ]
    assert await head(store) == before


async def test_a_setting_that_contradicts_a_worker_is_left_out(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.write(lambda view: view.put_worker(Worker(worker_id="10.0.0.7:8000", url="http://else")))
    async with controlling(store, replace(SETTINGS, workers=(SETTING,))) as control:
        assert [worker.url for worker in await listed(control)] == ["http://else"]
    assert "10.0.0.7:8000" in caplog.text


async def test_a_bad_url_is_quoted_as_it_was_given(control: Control) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=r"worker\.url 'http://' is not an http or https URL"):
        await register(control, url="http://")
