"""docs/configuration.md, from the table: `python -m rolltrace_settings.document > docs/configuration.md`."""

from __future__ import annotations

from rolltrace_settings import rllm
from rolltrace_settings.flags import default_text, metavar
from rolltrace_settings.settings import DECLARATIONS, flag, variable

HEAD = """\
# Configuration

<!-- Made by `python -m rolltrace_settings.document` from the table of settings; a test compares. -->

Every setting has a flag, an environment variable and a YAML key; only a secret has no flag. A flag wins
over the variable, the variable over the YAML file, the file over the default. The file is named by
`--config FILE` or `ROLLTRACE_CONFIG`. What is not known is an error that names the nearest known name; a
wrong value is an error that names its flag, variable or line, and the process exits with 2 before it does
anything.

Sizes are bytes or `64KiB`, `64MiB`, `1GB`; durations are seconds or `250ms`, `30s`, `5m`, `1h`.
`rolltrace up` takes every setting; the last column names the services that use it.

A whole file:

```yaml
port: 9090
db_path: /var/lib/rolltrace
proxies: 4
workers:
  - http://10.0.0.7:8000            # serves every model
  - url: http://10.0.0.8:8000/v1
    model_name: my-model            # serves this one alone
    weight: 2                       # takes twice its share of the sessions
    api_key: sk-local               # sent in place of the agent's own
    engine: vllm                    # or sglang, llamacpp, openai; found out by asking when not given
  - url: https://10.0.0.9:8000
    ca_file: /etc/rolltrace/ca.pem  # its certificate must descend from one of these
    worker_id: gpu-9                # its name; made from the URL when it is not given
```

`ROLLTRACE_WORKERS` holds URLs between spaces or commas, or a JSON list of such entries.
"""
FOREIGN = """\
## Names of rLLM's gateway

Its flags, variables and YAML file are understood, with a hint for each name that is not ours; see
[from-rllm.md](from-rllm.md).

| name | what it means here |
|---|---|"""


def document() -> str:
    """The whole page."""
    groups = dict.fromkeys(declaration.group for declaration in DECLARATIONS.values())
    return "\n".join([HEAD, *(_table(group) for group in groups), _foreign()])


def _foreign() -> str:
    """The names of rLLM's gateway."""
    keys = [(f"`{key}`", _foreign_key(foreign)) for key, foreign in rllm.KEYS.items()]
    flags = [(f"`{rllm.STORE_FLAG}`", f"as `{rllm.STORE_KEY}`")]
    variables = [
        (f"`{name}`", f"as `{key}`" if key in rllm.KEYS else f"`{variable(key)}`, which wins over it")
        for name, key in rllm.VARIABLES.items()
    ]
    rows = [f"| {name} | {said} |" for name, said in [*keys, *flags, *variables]]
    return "\n".join([FOREIGN, *rows, ""])


def _foreign_key(foreign: rllm.Foreign) -> str:
    if foreign.means:
        return f"`{foreign.means}`"
    values: dict[str, list[str]] = {}
    for value, hint in foreign.hints.items():
        if hint:
            values.setdefault(hint, []).append(f"`{value}`")
    said = [f"{' or '.join(which)} {hint}." for hint, which in values.items()]
    refused = [f"Anything else is an error: {foreign.refused}."] if foreign.refused else []
    return " ".join([*said, *refused])


def _table(group: str) -> str:
    rows = [
        "| flag | variable | YAML key | value | default | what | used by |",
        "|---|---|---|---|---|---|---|",
        *(_row(name) for name, declaration in DECLARATIONS.items() if declaration.group == group),
    ]
    return "\n".join([f"## {group.capitalize()}", "", *rows, ""])


def _row(name: str) -> str:
    declaration = DECLARATIONS[name]
    value = metavar(name) if declaration.choices else declaration.kind.name
    default = default_text(name)
    cells = (
        "" if declaration.secret else f"`{flag(name)}`",
        f"`{variable(name)}`",
        f"`{name}`",
        value.replace("|", " or "),
        f"`{default}`" if default else "",
        declaration.help,
        ", ".join(service for service in declaration.services if service != "up") or "up",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(document(), end="")
