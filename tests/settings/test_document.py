"""docs/configuration.md says of every setting what the table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolltrace_settings.document import document
from rolltrace_settings.load import resolve

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_committed_page_is_that_of_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run: python -m rolltrace_settings.document > docs/configuration.md"
    )


def test_the_file_that_the_page_shows_is_understood(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    example = document().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "example.yaml").write_text(example, encoding="utf-8")
    settings = resolve(["--config", str(tmp_path / "example.yaml")], {}, service="up")
    assert [worker.url for worker in settings.workers] == [
        "http://10.0.0.7:8000",
        "http://10.0.0.8:8000",
        "https://10.0.0.9:8000",
    ]
