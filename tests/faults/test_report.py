"""The report of the faults says what was done, and never more than that."""

from __future__ import annotations

from tests.faults.report import ROWS, Report, Tally


def row(report: Report, name: str) -> list[str]:
    return next(line for line in report.lines() if line.startswith(name)).removeprefix(name).split()


def test_tests_of_a_row_are_added_up() -> None:
    report = Report()
    report.note("power cut", "one", "passed", Tally(kills=2, calls=10, streams=1, promises=7))
    report.note("power cut", "other", "passed", Tally(kills=3, calls=1, streams=1, promises=7))
    assert row(report, "power cut") == ["2", "5", "11", "2", "14", "passed"]
    assert row(report, "total") == ["2", "5", "11", "2", "14"]


def test_a_row_is_as_good_as_its_worst_test() -> None:
    report = Report()
    for outcomes, result in ((("passed", "FAILED", "skipped"), "FAILED"), (("passed", "skipped"), "skipped")):
        for outcome in outcomes:
            report.note("disk full", outcome, outcome, Tally())
        assert row(report, "disk full")[-1] == result
        report = Report()
    assert row(report, "disk full")[-2:] == ["NOT", "RUN"]


def test_what_is_said_again_of_a_test_counts_once() -> None:
    report = Report()
    report.note("map full", "one", "passed", Tally(calls=1))
    report.note("map full", "one", "FAILED", Tally(calls=2))
    assert row(report, "map full") == ["1", "0", "2", "0", "0", "FAILED"]


def test_every_row_is_there() -> None:
    assert len(Report().lines()) == len(ROWS) + 2
