"""The ways of a run's operators (slowfast.models.tuning): forced, remembered, or measured on rank 0 and told to all.

Ways measured are kept for the machine, so that the same run started twice computes the same bits, and in
checkpoints, so that a run goes on, and is tested, with those it began with.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from logging import Logger
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from slowfast.models import tuning
from slowfast.utils import distributed
from slowfast.utils.atomic import replace_file

MAX_TRIAL_VALUES = {"cpu": 2**23, "cuda": 2**26}  # of the clips that a trial is made for: the ranking needs no more
FILE_FORMAT = 1


class Pass(NamedTuple):
    """Clips (B, C, T, H, W) that go through the model at once, and how."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    training: bool


def choose(
    model: nn.Module,
    passes: Sequence[Pass],
    device: torch.device,
    log: Logger,
    *,
    saved: Mapping[str, str],
    forced: Mapping[str, str],
    machine: Mapping[str, object],
) -> tuning.Plan:
    """Choose the ways for these passes, set them in the model, and return the plan; all processes must call it.

    saved: the plan of a checkpoint, which counts before what the machine remembers. machine: what tells machines and
    versions apart (see `remembered`). A model of which no case can be found keeps the ways it has.
    """
    found = [_cases(model, one, device, log) for one in passes]
    wanted = [case for cases in found for case in cases.values()]
    plan, measured, seconds = {}, 0, 0.0
    if distributed.is_main():
        kept = remembered(machine)
        start = time.perf_counter()
        plan, measured = tuning.complete({**kept, **saved}, wanted, device, forced)
        seconds = time.perf_counter() - start
        if measured:
            _remember(machine, {**kept, **plan}, log)
    plan = distributed.broadcast_object(plan)
    for cases in found:
        tuning.apply(model, cases, plan)
    if plan:
        log.info("operators, %d measured in %.1f s: %s", measured, seconds, tuning.summary(plan))
    return plan


def remembered(machine: Mapping[str, object]) -> tuning.Plan:
    """The plan that earlier runs measured on such a machine; empty without any, or where it cannot be read."""
    try:
        known = json.loads(_file().read_text())
        return known["plans"].get(_key(machine), {}) if known["format"] == FILE_FORMAT else {}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def _remember(machine: Mapping[str, object], plan: tuning.Plan, log: Logger) -> None:
    path = _file()
    try:
        plans = json.loads(path.read_text())["plans"] if path.exists() else {}
    except (OSError, ValueError, KeyError, TypeError):
        plans = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as file:
            file.write(json.dumps({"format": FILE_FORMAT, "plans": {**plans, _key(machine): plan}}).encode())
    except OSError as error:
        log.info("the ways measured are not kept for other runs: %s", error)


def _file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "slowfast" / "operators.json"


def _key(machine: Mapping[str, object]) -> str:
    return json.dumps(machine, sort_keys=True)


def _cases(model: nn.Module, one: Pass, device: torch.device, log: Logger) -> dict[str, str]:
    values_of_a_clip = torch.Size(one.shape[1:]).numel()
    clips = min(one.shape[0], max(1, MAX_TRIAL_VALUES.get(device.type, 0) // values_of_a_clip))
    try:
        return tuning.cases(model, (clips, *one.shape[1:]), one.dtype, device, one.training)
    except Exception as error:  # a user's own model may not run without values, which is no reason to stop
        log.info("operators keep their default ways, for the model cannot be followed: %s", error)
        return {}
