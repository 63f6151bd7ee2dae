"""Defaults + recipe + command line -> a checked, frozen config."""

from __future__ import annotations

import os
from collections.abc import Sequence

from slowfast.config.defaults import get_cfg
from slowfast.config.node import CfgNode
from slowfast.config.resolving import resolve
from slowfast.config.sources import ConfigError, read_pairs, read_recipe


def load_cfg(path: str | os.PathLike, opts: Sequence = (), notes: list[str] | None = None) -> CfgNode:
    """The config of a run: the defaults, overlaid with a recipe, then with ``[KEY, VALUE, KEY, VALUE, ...]``.

    ``notes`` receives one line for every key that was translated, to be logged once there is a log. Raises
    FileNotFoundError for a missing recipe, and ConfigError (a ValueError) with everything else that is wrong.
    """
    cfg = get_cfg()
    overrides, repeated = read_pairs(opts)
    problems: list[str] = []
    for entries in (read_recipe(path), overrides):
        try:
            cfg.merge(entries)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    cfg.RECIPE = cfg.RECIPE or os.fspath(path)  # a resolved config keeps the name of its recipe
    if notes is not None:
        notes += repeated
    return resolve(cfg, notes)
