"""The figures as markdown: a table a scenario, then the verdicts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.compare.bounds import Measured, Verdict

BEGIN, END = "<!-- a run of `make bench` -->", "<!-- the end of the run -->"
"""Around the place of a run in a document."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def scenario(name: str, title: str, shown: Sequence[str], measured: Measured) -> Iterator[str]:
    """What was measured of it: medians, and the least and the most of the rounds."""
    rows = {target: values for (of, target), values in measured.items() if of == name}
    columns = [column for column in shown if any(column in values for values in rows.values())]
    failed = any("errors" in values and values["errors"].most for values in rows.values())
    columns += ["errors"] * failed
    yield f"### {name}: {title}"
    yield ""
    yield from table(
        ["target", *columns],
        (
            [target, *(str(values[column]) if column in values else "-" for column in columns)]
            for target, values in rows.items()
        ),
    )


def judged(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    met = sum(verdict.good for verdict in verdicts)
    yield f"### Verdicts: {met} of {len(verdicts)} met"
    yield ""
    head = ["scenario", "figure", "target", "reached", "verdict"]
    yield from table(head, (verdict.cells() for verdict in verdicts))


def calculated(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield "### By calculation: a turn of 500 new tokens every 20 s, at 20 ms a token"
        yield ""
        yield from table(rows[0], rows[1:])


def placed(document: str, run: str) -> str:
    """The document with this run between its marks instead of the last one; a run alone where it has none."""
    before, found, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{run.strip()}\n\n{END}{after}" if found and ended else run
