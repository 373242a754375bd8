"""What was given, and where: the flags, the environment and the YAML file, before anything is understood.

A source gives `Given` values by name of setting, ours or rLLM's. A `Given` knows the place to name in an
error. PyYAML is imported only when there is a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rolltrace_settings import rllm
from rolltrace_settings.errors import SettingsError, nearest
from rolltrace_settings.settings import DECLARATIONS, variable

if TYPE_CHECKING:
    from yaml import MappingNode, Node, SafeLoader

CONFIG_VARIABLE = "ROLLTRACE_CONFIG"
# Read by the `rolltrace` command, which may run in the same shell as a service.
CLIENT_VARIABLES = ("ROLLTRACE_CONTROL", "ROLLTRACE_TLS_CA_FILE")


@dataclass(frozen=True, slots=True)
class Given:
    """A value as given: a scalar, or the entries of a list of workers, each with its own place."""

    value: object
    place: str


WorkerFields = dict[str, Given]


def from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The settings that ROLLTRACE_* variables give, and below them rLLM's."""
    names = {variable(name): name for name in DECLARATIONS}
    known = [*names, CONFIG_VARIABLE, *CLIENT_VARIABLES]
    given = {name: Given(environ[key], key) for key, name in rllm.VARIABLES.items() if key in environ}
    for key, text in environ.items():
        if key in names:
            given[names[key]] = (
                workers_from_text(text, key) if key == "ROLLTRACE_WORKERS" else Given(text, key)
            )
        elif key.startswith("ROLLTRACE_") and key not in known:
            raise SettingsError(f"{key}: no such setting{nearest(key, known)}")
    return given


def workers_from_text(text: str, place: str) -> Given:
    """URLs between spaces or commas; or a JSON list as in YAML, which `rolltrace up` gives its children."""
    if not text.lstrip().startswith("["):
        return Given([Given(url, place) for url in text.replace(",", " ").split()], place)
    try:
        entries = cast(list[object], json.loads(text))
    except (ValueError, RecursionError):
        raise SettingsError(f"{place}: begins like a JSON list, but is none") from None
    return Given([_json_entry(entry, place) for entry in entries], place)


def _json_entry(entry: object, place: str) -> Given:
    if not isinstance(entry, dict):
        return Given(entry, place)
    fields = cast(dict[str, object], entry)
    return Given({key: Given(value, place) for key, value in fields.items()}, place)


def from_yaml(path: str) -> dict[str, Given]:
    """The settings of a YAML file, each with its line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not text in UTF-8") from None
    try:
        import yaml
    except ImportError:
        raise SettingsError(f"{path}: a config file needs PyYAML: pip install 'rolltrace[server]'") from None
    try:
        loader = yaml.SafeLoader(text)
        return _top(path, loader, loader.get_single_node())
    except SettingsError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{path}{line}: is not YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise SettingsError(f"{path}: is not YAML: it holds a character that is not allowed") from None
    except RecursionError:
        raise SettingsError(f"{path}: nests too deeply") from None
    except (ValueError, OverflowError):  # of PyYAML's scanner: "\\UFFFFFFFF", or a version of 5000 digits
        raise SettingsError(
            f"{path}: is not YAML: it holds a number or an escape that is too large"
        ) from None


def _top(path: str, loader: SafeLoader, root: Node | None) -> dict[str, Given]:
    from yaml import MappingNode, SequenceNode

    if root is None or root.tag == "tag:yaml.org,2002:null":
        return {}
    if not isinstance(root, MappingNode):
        raise SettingsError(f"{path}:{_line(root)}: is not a mapping of settings; write e.g. port: 9090")
    given: dict[str, Given] = {}
    for name, node in _pairs(path, loader, root):
        place = f"{path}:{_line(node)}: {name}"
        if name not in DECLARATIONS and name not in rllm.KEYS:
            raise SettingsError(f"{place}: no such setting{nearest(name, DECLARATIONS)}")
        if name == "workers" and isinstance(node, SequenceNode):
            given[name] = Given([_yaml_entry(path, loader, entry) for entry in node.value], place)
        else:
            given[name] = Given(_scalar(loader, node, place), place)
    return given


def _yaml_entry(path: str, loader: SafeLoader, node: Node) -> Given:
    from yaml import MappingNode

    place = f"{path}:{_line(node)}: workers"
    if not isinstance(node, MappingNode):
        return Given(_scalar(loader, node, place), place)
    entry: WorkerFields = {}
    for name, value in _pairs(path, loader, node):
        at = f"{path}:{_line(value)}: workers"
        entry[name] = Given(_scalar(loader, value, f"{at}: {name}"), at)
    return Given(entry, place)


def _pairs(path: str, loader: SafeLoader, node: MappingNode) -> Iterator[tuple[str, Node]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        name = str(_scalar(loader, key_node, f"{path}:{_line(key_node)}"))
        if name in seen:
            raise SettingsError(f"{path}:{_line(key_node)}: {name}: is given twice")
        seen.add(name)
        yield name, value_node


def _scalar(loader: SafeLoader, node: Node, place: str) -> object:
    from yaml import ScalarNode

    if not isinstance(node, ScalarNode):
        raise SettingsError(f"{place}: is a list or a mapping; a single value is expected")
    construct = cast("Callable[[Node], object]", loader.construct_object)  # pyright: ignore[reportUnknownMemberType]  # the types of PyYAML leave it open
    try:
        value = construct(node)
        str(value)  # a ValueError for an integer of thousands of digits
    except (ArithmeticError, AttributeError, LookupError, ValueError):  # PyYAML lets all of them out
        raise SettingsError(f"{place}: is no value that YAML knows; put it in quotes") from None
    return value


def _line(node: Node) -> int:
    return node.start_mark.line + 1
