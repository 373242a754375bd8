"""Whoever follows docs/from-rllm.md from top to bottom gets what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from rolltrace_demo.worker_server import DemoWorker
from rolltrace_settings import rllm
from tests.house.files import REPOSITORY
from tests.house.readme import NOT_RUN, RUN, Reader, blocks
from tests.store.rllm.samples import File, record

DOCS = REPOSITORY / "docs"
TEXT = (DOCS / "from-rllm.md").read_text(encoding="utf-8")


def follow(folder: Path, worker: str) -> None:
    File(folder / "traces.db").add(record("old"))
    reader = Reader(folder, "docs/from-rllm.md", {"http://localhost:8000": worker})
    try:
        for block in blocks(TEXT):
            if block.language in RUN:
                reader.follow(block)
    finally:
        reader.close()


@pytest.mark.timeout(180)
async def test_every_command_block_runs(tmp_path: Path) -> None:
    async with DemoWorker() as worker:
        await asyncio.to_thread(follow, tmp_path, worker.url)
    assert (tmp_path / "data" / "data.mdb").is_file()
    assert (tmp_path / ".rolltrace" / "gateway" / "data.mdb").is_file()


def test_every_block_is_of_a_kind_that_is_known() -> None:
    assert {block.language for block in blocks(TEXT)} <= {*RUN, *NOT_RUN}
    assert TEXT.count("\n```") == 2 * len(list(blocks(TEXT)))


def test_every_name_of_rllms_gateway_is_explained() -> None:
    for name in (*rllm.KEYS, rllm.STORE_FLAG, f"{rllm.PREFIX}*"):
        assert f"`{name}`" in TEXT, name


def test_every_link_leads_somewhere() -> None:
    for file, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXT):
        page = (DOCS / file).read_text(encoding="utf-8") if file else TEXT
        titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, anchor
