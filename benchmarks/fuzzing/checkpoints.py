"""Damaged checkpoints, and what reading them says."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzzing.containers import PAYLOAD
from fuzzing.damaging import damaged
from fuzzing.outcomes import GOOD, Victim
from slowfast.models import pretrained
from slowfast.utils import checkpoint
from slowfast.utils.isolation import Limits, Outcome, run_isolated

CHECKPOINTS = ("sealed", "archive", "old", "pickle", "types")
_WRONG = (None, True, -1, 2**62, 1e308, float("nan"), "", "text", b"\0", [], [0], {}, {"a": 1}, (), {1: 2})


def state() -> dict[str, Any]:
    """The content of a checkpoint as training saves it, more or less, of a model of one layer."""
    layer = _layer()
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return {
        "global_step": 5,
        "batch_in_epoch": 0,
        "dataset": "kinetics",
        "class_names": ["a", "b", "c"],
        "best": {"top1": 12.5},
        "cfg": "TRAIN:\n  ENABLE: true\n",
        "model_state": layer.state_dict(),
        "optimizer_state": optimizer.state_dict(),
    }


def _layer() -> torch.nn.Linear:
    return torch.nn.Linear(4, 3)


def damage_checkpoints(folder: Path, count: int, rng: np.random.Generator) -> list[Victim]:
    """Each in a folder of its own; what the names of CHECKPOINTS mean is below."""
    checkpoint.save(state(), folder / "sound.pyth")
    archive, old = io.BytesIO(), io.BytesIO()
    torch.save(state(), archive)
    torch.save(state(), old, _use_new_zipfile_serialization=False)
    sound = {
        "sealed": (folder / "sound.pyth").read_bytes(),
        "archive": archive.getvalue(),
        "old": old.getvalue(),
    }
    victims = []
    for number in range(count):
        kind = CHECKPOINTS[number % len(CHECKPOINTS)]
        path = folder / f"{number:06d}" / f"{number:06d}-{kind}.pyth"
        path.parent.mkdir(exist_ok=True)
        if kind == "types":
            torch.save(_with_wrong_values(state(), rng), path)
        elif kind == "pickle":
            path.write_bytes(_with_damaged_pickle(archive.getvalue(), rng))
        else:
            everywhere = np.full(len(sound[kind]), PAYLOAD)
            path.write_bytes(damaged(sound[kind], everywhere, PAYLOAD, rng))
        victims.append(Victim(path, kind, ""))
    return victims


def _with_damaged_pickle(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive of torch whose pickle is damaged, which its checksums do not tell."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as before,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as after,
    ):
        for name in before.namelist():
            content = before.read(name)
            if name.endswith("data.pkl"):
                content = damaged(content, np.full(len(content), PAYLOAD), PAYLOAD, rng)
            after.writestr(name, content)
    return target.getvalue()


def _with_wrong_values(content: dict[str, Any], rng: np.random.Generator) -> Any:
    """The same with one to three values, at any depth, of another type or size, or without them."""
    for _ in range(int(rng.integers(1, 4))):
        holder = content
        while True:
            key = list(holder)[int(rng.integers(len(holder)))]
            inner = holder[key]
            if not isinstance(inner, dict) or not inner or rng.random() < 0.3:
                break
            holder = inner
        if rng.random() < 0.2 and len(holder) > 1:
            del holder[key]
        else:
            holder[key] = _wrong_value(rng)
    return content


def _wrong_value(rng: np.random.Generator) -> Any:
    huge = torch.zeros(1).expand(2**40)  # claims 4 TiB and has 4 bytes
    wrong = (
        *_WRONG,
        huge,
        torch.zeros(0),
        torch.zeros(2, 2, dtype=torch.complex64),
        torch.tensor(float("nan")),
    )
    return wrong[int(rng.integers(len(wrong)))]


def read_checkpoint(path: str) -> tuple[str, str]:
    """(GOOD, "") or ("refused", the reason): the newest of a folder is looked for, read, and goes into a model.

    Of weights that do not fit the first line counts: below it stands a table. Raises RuntimeError if a search for the
    newest disagrees with reading.
    """
    found = checkpoint.newest(Path(path).parent)
    reason = checkpoint.verify(path)
    if reason and found:
        raise RuntimeError(f"found as the newest, though {reason}")
    if reason:
        return "refused", reason
    try:
        pretrained.fit(checkpoint.load(path), _layer())
    except ValueError as error:
        return "refused", str(error).partition("\n")[0]
    return GOOD, ""


def judge_checkpoints(victims: Sequence[Victim], limits: Limits) -> Iterator[tuple[Victim, Outcome]]:
    jobs = [str(victim.path) for victim in victims]
    for number, outcome in run_isolated(read_checkpoint, jobs, processes=1, limits=limits):
        yield victims[number], outcome
