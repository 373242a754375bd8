"""A served demo worker, and small ways to call it."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from rolltrace_demo.worker_server import DemoWorker
from tests.demo.worker_client import WorkerClient


@pytest.fixture
async def worker() -> AsyncIterator[DemoWorker]:
    async with DemoWorker() as worker:
        yield worker


@pytest.fixture
async def client(worker: DemoWorker) -> AsyncIterator[WorkerClient]:
    async with aiohttp.ClientSession(worker.url) as session:
        yield WorkerClient(worker.url, session)
