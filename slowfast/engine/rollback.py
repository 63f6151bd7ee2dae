"""Going back to an earlier checkpoint, once in a run, after steps that were not finite.

The run then meets the same videos in the same order with the same random draws. That is meant: a fault of the machine
does not come back, and the run ends as if it had not been; one that follows from the data or the settings does, at the
same step, and no other order of the videos would be a cure.
"""

from __future__ import annotations

from logging import Logger
from pathlib import Path
from typing import Any

from slowfast.engine.guard import NonFiniteSteps
from slowfast.engine.saving import Progress
from slowfast.utils import checkpoint, distributed

ADVICE = (
    "The weights are those of the last good step. Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_EPOCHS, set "
    "TRAIN.MIXED_PRECISION to bf16 or off, or leave out videos that are named there; SOLVER.MAX_NONFINITE_STEPS sets "
    "how many such steps are tolerated"
)


def way_back(what: str, dump: Path, progress: Progress, output_dir: Path, log: Logger) -> str:
    """The checkpoint to go back to: the newest of the run that is good, else the file that it began with.

    Good is one after a step that was not skipped. Those that the run has made since are deleted, since a run that is
    resumed would go on with them. Raises NonFiniteSteps where there is none, or where the run has gone back before. All
    ranks call it, and all see the folder.
    """
    path = distributed.broadcast_object(_find(progress, output_dir) if distributed.is_main() else "")
    if not path:
        why = (
            "after going back to a checkpoint once" if progress.rollbacks else "before there was a good checkpoint"
        )
        raise NonFiniteSteps(f"{what}, {why}. Their videos and gradients: {dump}. {ADVICE}")
    log.warning("%s: going back, once, to %s. Their videos and gradients: %s", what, path, dump)
    return path


def _find(progress: Progress, output_dir: Path) -> str:
    """As `way_back`, on rank 0; "" for none."""

    def is_good(saved: dict[str, Any]) -> bool:
        _, in_a_row, _ = saved.get("guard", (0, 0, 0))
        return saved["global_step"] <= progress.global_step and not in_a_row

    if progress.rollbacks:
        return ""
    folder = output_dir / checkpoint.FOLDER
    path = str(checkpoint.newest(folder, is_good) or progress.origin)
    if not path or checkpoint.verify(path) is not None:
        return ""
    checkpoint.drop(folder, after=checkpoint.load(path)["global_step"], up_to=progress.global_step)
    return path
