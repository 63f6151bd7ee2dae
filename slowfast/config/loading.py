"""Defaults + recipe + command line -> a checked, frozen config."""

from __future__ import annotations

import os
from collections.abc import Sequence

from slowfast.config.defaults import get_cfg
from slowfast.config.node import CfgNode
from slowfast.config.resolving import resolve
from slowfast.config.sources import ConfigError, Entry, read_pairs, read_recipe, read_text


def load_cfg(path: str | os.PathLike, opts: Sequence = (), notes: list[str] | None = None) -> CfgNode:
    """The config of a run: the defaults, overlaid with a recipe, then with ``[KEY, VALUE, KEY, VALUE, ...]``.

    ``notes`` receives one line for every key that was translated, to be logged once there is a log. Raises
    FileNotFoundError for a missing recipe, and ConfigError (a ValueError) with everything else that is wrong.
    """
    cfg = _merged(read_recipe(path), opts, notes)
    cfg.RECIPE = cfg.RECIPE or os.fspath(path)  # a resolved config keeps the name of its recipe
    return resolve(cfg, notes)


def config_in(text: str, name: str, opts: Sequence = ()) -> CfgNode:
    """The config that a checkpoint holds as ``text``, overlaid with pairs; ``name`` stands for it in messages.

    Raises ConfigError with everything that is wrong.
    """
    return resolve(_merged(read_text(text, name), opts, None))


def _merged(recipe: Sequence[Entry], opts: Sequence, notes: list[str] | None) -> CfgNode:
    cfg = get_cfg()
    overrides, repeated = read_pairs(opts)
    problems: list[str] = []
    for entries in (recipe, overrides):
        try:
            cfg.merge(entries)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    if notes is not None:
        notes += repeated
    return cfg
