"""Which checkpoint a training run goes on from, whether it may, and what has changed since."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slowfast.utils import checkpoint


@dataclass(frozen=True)
class SameRun:
    """What a run that goes on has in common with its checkpoint, where these are keys.

    ``dataset`` is the name of the training set, ``train_list`` the digest of its list, ``global_batch`` the videos of
    a step, ``rng_seed`` what the order of the videos is drawn from.
    """

    dataset: str
    train_list: str
    global_batch: int
    rng_seed: int


def find(resume: str, fallback: str, output_dir: Path) -> str:
    """The checkpoint that a run goes on from; "" to begin.

    With ``resume`` auto that is the newest of ``output_dir``, then the file ``fallback``. A file that it names is where
    a run in ``output_dir`` begins; once that has checkpoints of its own, the same command goes on with them. Raises
    ValueError where they are of another run that has come further than the file, and where none of those that are there
    can be used: to begin anew would lose them without a word.
    """
    if not resume:
        return ""
    folder = output_dir / checkpoint.FOLDER
    found = checkpoint.newest(folder)
    if found is None and (unusable := sorted(folder.glob("checkpoint_*.pyth"))):
        raise ValueError(_all_unusable(unusable))
    if resume == "auto":
        return str(found or fallback)
    if found is None or found.resolve() == Path(resume).resolve():
        return resume
    own, named = checkpoint.load(found), checkpoint.load(resume)
    if own.get("origin") == os.path.abspath(resume):
        return str(found)
    if own["global_step"] >= named.get("global_step", 0):
        raise ValueError(
            f"TRAIN.RESUME is {resume} (step {named.get('global_step', 0)}), but {output_dir} has come further: "
            f"{found} (step {own['global_step']}). Write TRAIN.RESUME auto to go on with that, or another OUTPUT_DIR "
            "to go on from the older file"
        )
    return resume


def _all_unusable(paths: Sequence[Path]) -> str:
    whole = "\n".join(f"  {checkpoint.verify(path) or f'{path} holds no global_step'}" for path in paths)
    return (
        f"none of the checkpoints in {paths[0].parent} can be used, so that the run would begin anew:\n{whole}\n"
        "Bring back a sound copy, or move these files away: then the run begins anew, or goes on from a file that "
        "TRAIN.RESUME names, such as best.pyth of the run. TRAIN.RESUME '' TRAIN.AUTO_RESUME False begins anew beside "
        "them"
    )


def origin(path: str, saved: Mapping[str, Any], output_dir: Path) -> str:
    """The file from elsewhere that the run in ``output_dir``, now going on from ``path``, began with; "" for none."""
    own = Path(path).resolve().parent == (output_dir / checkpoint.FOLDER).resolve()
    return saved.get("origin", "") if own else os.path.abspath(path)


def check(path: str, saved: Mapping[str, Any], run: SameRun, allow: Collection[str]) -> None:
    """Raise ValueError if a checkpoint is of other data, another list, another batch or, inside an epoch, another seed.

    ``allow`` may hold "list" and "batch"; from the end of an epoch, that is, since inside one the order of the videos
    follows from both. Checkpoints of older versions do not tell all that is compared.
    """
    for message in _differences(path, {**vars(run), **saved}, run, allow):
        raise ValueError(f"{path} was trained {message}")


def _differences(path: str, saved: Mapping[str, Any], run: SameRun, allow: Collection[str]) -> Iterator[str]:
    in_epoch = saved["batch_in_epoch"]
    new_run = f"start a new run (another OUTPUT_DIR) with TRAIN.INIT {path}"
    if saved["dataset"].lower() != run.dataset.lower():
        yield f"on the data set {saved['dataset']}, this run is on {run.dataset}: {new_run}"
    if saved["global_batch"] != run.global_batch and (in_epoch or "batch" not in allow):
        yield (
            f"with {saved['global_batch']} videos a step, this run has {run.global_batch}: go on with the same "
            f"TRAIN.BATCH_SIZE x NUM_SHARDS x TRAIN.ACCUMULATION_STEPS, {new_run}, or {_allow('batch', in_epoch)}"
        )
    if saved["train_list"] != run.train_list and (in_epoch or "list" not in allow):
        yield (
            f"with another list, whose names, labels or order differ: go on with the same list, {new_run}, or, where "
            f"broken videos were left out, {_allow('list', in_epoch)}"
        )
    if in_epoch and saved["rng_seed"] != run.rng_seed:
        yield (
            f"with RNG_SEED {saved['rng_seed']}, this run has {run.rng_seed}, and is {in_epoch} steps into an epoch, "
            f"whose order follows from it: go on with RNG_SEED {saved['rng_seed']}, or {new_run}"
        )


def _allow(what: str, in_epoch: int) -> str:
    allowed = f"write TRAIN.RESUME_ALLOW \"['{what}']\""
    if not in_epoch:
        return allowed
    return (
        f"go on from the end of an epoch: this file is {in_epoch} steps into one. Name such a file with TRAIN.RESUME, "
        f"another OUTPUT_DIR, and {allowed}"
    )


def config_changes(saved: str, now: str) -> list[str]:
    """What differs between two configs, as YAML: lines "SECTION.KEY: value of the first -> value of the second"."""
    before, after = (dict(_leaves(yaml.safe_load(text))) for text in (saved, now))
    return [
        f"{key}: {before.get(key, 'unknown')} -> {after.get(key, 'unknown')}"
        for key in before | after
        if before.get(key) != after.get(key)
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
