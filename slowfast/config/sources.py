"""Where settings come from: a recipe (YAML) or KEY VALUE pairs, as entries that remember their origin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

COMMAND_LINE = "command line"


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, in one message; ``problems`` holds the single lines."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(f"{len(self.problems)} problems in the configuration:{lines}")

    def __reduce__(self):
        return ConfigError, (self.problems,)


class Entry(NamedTuple):
    """One setting: its full key, its value as written (text, None, or nested lists of these), its origin."""

    key: str
    value: Any
    where: str


def read_recipe(path: str | os.PathLike) -> list[Entry]:
    """The entries of a YAML file, in order; ``where`` is file:line.

    Scalars stay the text that is written, so that ``1e-6``, ``off`` and ``007`` mean what they say instead of
    what YAML 1.1 makes of them. Raises FileNotFoundError for a missing file, and ConfigError for one that is
    not a recipe or gives a key twice.
    """
    name = os.fspath(path)
    return read_text(_content(name), name)


def read_text(text: str, name: str) -> list[Entry]:
    """The entries of the text of a recipe, as `read_recipe`; ``name`` stands for the file in messages."""
    root = _compose(text, name)
    if root is None:
        raise ConfigError(
            [f"{name}: the file is empty; a recipe holds sections such as 'TRAIN:' with keys below"]
        )
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([f"{name}: not a recipe: it must hold sections such as 'TRAIN:' with keys below"])
    entries: list[Entry] = []
    problems: list[str] = []
    _walk(root, "", name, entries, problems)
    if problems:
        raise ConfigError(problems)
    return entries


def read_pairs(pairs: Sequence) -> tuple[list[Entry], list[str]]:
    """Entries of a flat KEY VALUE sequence, and notes about keys given twice (the last one counts).

    Raises ConfigError where a value is missing.
    """
    if isinstance(pairs, str) or len(pairs) % 2:
        given = pairs if isinstance(pairs, str) else " ".join(str(item) for item in pairs)
        raise ConfigError([f"settings come in pairs KEY VALUE, but these do not: {given}"])
    entries: dict[str, Entry] = {}
    notes = []
    for key, value in zip(pairs[0::2], pairs[1::2], strict=True):
        if not isinstance(key, str) or not key or key.startswith("-"):
            raise ConfigError(
                [f"{COMMAND_LINE}: {key!r} stands where a key such as TRAIN.BATCH_SIZE is expected"]
            )
        if key in entries:
            notes.append(f"{key} is given twice on the command line; the last one, {value}, counts")
            del entries[key]
        entries[key] = Entry(key, value, COMMAND_LINE)
    return list(entries.values()), notes


def _content(name: str) -> str:
    if not os.path.exists(name):
        raise FileNotFoundError(f"the recipe {name} does not exist (looked for it from {os.getcwd()})")
    if os.path.isdir(name):
        raise ConfigError(
            [f"{name} is a folder; a recipe is a YAML file, such as configs/k400/uniformer_s8x8.yaml"]
        )
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([f"{name}: not a text file in UTF-8, so not a recipe"]) from None


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([f"{name}{line}: not valid YAML: {reason}"]) from None


def _walk(node: yaml.MappingNode, prefix: str, name: str, entries: list[Entry], problems: list[str]) -> None:
    """Collect the leaves of a mapping; a key that stands twice in one mapping is a problem."""
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = f"{prefix}{key_node.value}"
        if key in lines:
            problems.append(
                f"{name}:{line}: {key} stands here again, it is already given on line {lines[key]}"
            )
            continue
        lines[key] = line
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            _walk(value_node, f"{key}.", name, entries, problems)
        else:
            entries.append(Entry(key, _raw(value_node), f"{name}:{line}"))


def _raw(node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_raw(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {}
    return None if node.tag == "tag:yaml.org,2002:null" else node.value
