"""The config tree: a yacs CfgNode that merges with tolerance for number types, and strictly otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import yacs.config

from slowfast.config import foreign
from slowfast.config.resolving import resolve
from slowfast.config.sources import ConfigError, Entry, read_pairs, read_recipe
from slowfast.config.values import convert, kind_of


class CfgNode(yacs.config.CfgNode):
    """A section of the configuration, or all of it; keys are attributes.

    ``merge_from_file``, ``merge_from_list`` and ``merge_from_other_cfg`` take what ``values.convert`` takes,
    name the file and line of everything they refuse, and report all of it in one ConfigError (a ValueError).
    """

    KINDS = "__kinds__"

    def resolved(self) -> tuple[CfgNode, list[str]]:
        """A checked, frozen copy of this tree and what was translated; the tree itself if it is frozen already.

        Raises ConfigError with every rule that is broken, as ``load_cfg`` does.
        """
        notes: list[str] = []
        return (self, notes) if self.is_frozen() else (resolve(self.clone(), notes), notes)

    def set_kinds(self, kinds: dict[str, str]) -> None:
        """Name the kinds of keys whose default does not show it, by full key; on the root of a tree."""
        self.__dict__[CfgNode.KINDS] = dict(kinds)

    def merge_from_file(self, cfg_filename: str | os.PathLike) -> None:
        """Merge a YAML recipe. Raises FileNotFoundError for a missing file, else ConfigError."""
        self.merge(read_recipe(cfg_filename))

    def merge_from_list(self, cfg_list: Sequence) -> None:
        """Merge ``[KEY, VALUE, KEY, VALUE, ...]``; the last value of a key counts."""
        entries, _ = read_pairs(cfg_list)
        self.merge(entries)

    def merge_from_other_cfg(self, cfg_other: yacs.config.CfgNode) -> None:
        """Merge another tree."""
        self.merge(Entry(key, value, "other config") for key, value in leaves(cfg_other))

    def merge(self, entries: Iterable[Entry]) -> None:
        """Set all entries, or none: raises ConfigError with one line for every entry that cannot be."""
        if self.is_frozen():
            raise AttributeError("this config is frozen; change a copy: cfg.clone(), then defrost()")
        problems, settings = [], []
        for entry in entries:
            try:
                settings += self._accept(entry)
            except ValueError as error:
                problems.append(f"{entry.where}: {error}")
        if problems:
            raise ConfigError(problems)
        for section, name, value in settings:
            section[name] = value

    def _accept(self, entry: Entry) -> list[tuple[CfgNode, str, Any]]:
        """The assignment that an entry asks for, none for a key without effect. Raises ValueError."""
        *path, name = entry.key.split(".")
        section: Any = self
        for part in path:
            section = section.get(part) if isinstance(section, CfgNode) else None
        if not isinstance(section, CfgNode) or name not in section:
            return self._accept_unknown(entry)
        if isinstance(section[name], CfgNode):
            if entry.value in (None, {}):
                return []  # an empty section
            raise ValueError(f"{entry.key} is a section with keys below, it cannot be {entry.value!r}")
        kind = self.__dict__.get(CfgNode.KINDS, {}).get(entry.key) or kind_of(section[name])
        try:
            return [(section, name, convert(kind, entry.value))]
        except ValueError as error:
            raise ValueError(f"{entry.key} {error}") from None

    def _accept_unknown(self, entry: Entry) -> list:
        if foreign.is_foreign(entry.key):
            refusal = foreign.refusal(entry.key, entry.value)
            if refusal:
                raise ValueError(refusal)
            return []
        known = [key for key, _ in leaves(self)]
        nearest = _nearest(entry.key, known)
        hint = (
            f"; did you mean {' or '.join(nearest)}?"
            if nearest
            else "; docs of all keys: slowfast/config/defaults.py"
        )
        raise ValueError(f"unknown key {entry.key}{hint}")


def leaves(cfg: yacs.config.CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(full key, value) of every key of a tree, in the order of the tree."""
    for name, value in cfg.items():
        if isinstance(value, yacs.config.CfgNode):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _nearest(key: str, known: list[str]) -> list[str]:
    """Up to two keys that were probably meant: the same name in other sections, else a similar spelling."""
    name = key.rsplit(".", 1)[-1].upper()
    moved = [full for full in known if full.rsplit(".", 1)[-1] == name]
    return moved[:2] or get_close_matches(key.upper(), known, n=1, cutoff=0.6)
