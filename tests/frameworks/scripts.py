"""An agent script in its framework's environment, as a process that answers runs line by line."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any, cast

from tests.frameworks.table import Case, script
from tests.house.files import REPOSITORY

PATIENCE = 180.0
"""Seconds for one run, the import of a framework included."""
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches the list of prices
    "LITELLM_LOG": "ERROR",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
}
Seen = dict[str, Any]


def environment(framework: str) -> Path:
    return REPOSITORY / ".frameworks" / framework


def installed(framework: str) -> bool:
    return (environment(framework) / ".ready").is_file()


class Script:
    """Starts with its first run; `log` gets what the framework prints."""

    def __init__(self, framework: str, log: Path) -> None:
        self.log = log
        kept = {
            name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))
        }
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [environment(framework) / "bin" / "python", script(framework)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**kept, **QUIET},
            )

    def run(self, case: Case, base_url: str, api_key: str, *, model: str, stream: bool) -> list[Seen]:
        """What the agent saw. AssertionError with its traceback when it failed."""
        at = {"base_url": base_url, "api_key": api_key}
        return self._ask({"api": case.function, **at, "model": model, "stream": stream})

    def follow(self, program: str, environment: dict[str, str]) -> None:
        """Runs a program with these variables. AssertionError with its traceback when it failed."""
        self._ask({"program": program, "environment": environment})

    def _ask(self, order: dict[str, object]) -> list[Seen]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not ready:
            self._process.kill()  # an answer that came later would be taken for the next run's
        line = self._process.stdout.readline()
        assert line, f"nothing came back:\n{self.log.read_text()[-3000:]}"
        said = cast(dict[str, Any], json.loads(line))
        assert "failed" not in said, said["failed"]
        return cast(list[Seen], said["seen"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
