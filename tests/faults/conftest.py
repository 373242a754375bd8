"""What the tests of faults share, and their report, printed at the end of a run and written to a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.faults.processes import Pair, running_pair, running_worker
from tests.faults.report import Report, Tally

KILLS = int(os.environ.get("KILLS") or 60)
"""How many SIGKILLs the tests of kills send, all of them together, about."""
_report, _tally = pytest.StashKey[Report](), pytest.StashKey[Tally]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """What the test counts for the report."""
    return request.node.stash.setdefault(_tally, Tally())  # type: ignore[no-any-return]


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line under the report's table."""
    return request.config.stash.setdefault(_report, Report()).notes.append


@pytest.fixture(scope="session")
def kills() -> int:
    return KILLS


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A demo worker that takes 5 ms for a token."""
    with running_worker(tmp_path_factory.mktemp("worker"), "--token-delay", "0.005") as url:
        yield url


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair without workers that many tests share, one after the other; it waits a second for a worker."""
    with running_pair(
        tmp_path_factory.mktemp("impatient"),
        connect_timeout=1,
        first_byte_timeout=1,
        idle_timeout=1,
        total_timeout=5,
        health_interval=3600,
        max_body_size=1 << 20,
        max_header_size=8 << 10,
        durability="process",
    ) as pair:
        yield pair


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    made = yield
    mark = item.get_closest_marker("fault")
    if mark is not None and (call.when == "call" or not made.passed):
        report = item.config.stash.setdefault(_report, Report())
        outcome = "FAILED" if made.failed else made.outcome
        report.note(mark.args[0], item.nodeid, outcome, item.stash.get(_tally, Tally()))
    return made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(_report, None)
    if report is None:
        return
    terminalreporter.section("faults")
    for line in report.lines():
        terminalreporter.write_line(line)
    if file := os.environ.get("REPORT"):
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(report.lines()) + "\n")
        terminalreporter.write_line(f"written to {path}")
