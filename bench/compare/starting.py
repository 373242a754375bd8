"""How long `rolltrace up` takes to be healthy, and a trainer's import of the client."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import free_port

from bench.compare.gateway import running
from bench.compare.rows import Row
from bench.compare.targets import MINE, there

TIMES = 3
SHOWN = {"start": ("healthy after s", "client import ms")}
IMPORT = """
import time
begun = time.perf_counter()
from rolltrace_client import Client
print(time.perf_counter() - begun)
"""


def measure(rounds: int) -> Iterator[Row]:
    """Each time on an empty folder, and in a new interpreter whose files are in the page cache."""
    mine = next(target for target in there() if target.name == MINE)
    for number in range(max(rounds, TIMES)):
        with (
            tempfile.TemporaryDirectory() as folder,
            running(iter([mine]), free_port(), Path(folder)) as gateways,
        ):
            took = [gateway.started for gateway in gateways]
        said = subprocess.run([sys.executable, "-c", IMPORT], stdout=subprocess.PIPE, check=True).stdout
        healthy = {"healthy after s": took[0]} if took else {"errors": 1.0}
        yield Row("start", MINE, number, {**healthy, "client import ms": 1e3 * float(said)})
