"""Records of a validation to the numbers that training judges itself by."""

from __future__ import annotations

from logging import Logger
from typing import Any

from slowfast.engine import evaluator


def judge(
    evaluation: evaluator.Evaluation,
    dataset: Any,
    epoch: int,
    *,
    ensemble: str,
    multi_label: bool,
    log: Logger,
) -> dict:
    """Measures of the validation after ``epoch``, with counts of videos; ``ensemble`` as in evaluator.merge.

    The videos that could not be read, or not to their end, are named in the log.
    """
    scored = evaluator.merge(evaluation.records, dataset.views_per_video, ensemble)
    labels = [dataset.label(int(index)) for index in scored.video_ids]
    evaluator.check_scored(scored, evaluation, dataset.name, len(dataset))
    for index, reason in evaluation.unreadable:
        log.warning("validation leaves out an unreadable video: %s: %s", dataset.name(index), reason)
    for index, reason in evaluation.damaged:
        log.warning(
            "validation scores a damaged video as far as it goes: %s: %s", dataset.name(index), reason
        )
    if evaluation.unreadable or evaluation.damaged:
        log.warning(
            "validation: %d unreadable, %d damaged, %d of %d videos scored",
            len(evaluation.unreadable),
            len(evaluation.damaged),
            len(labels),
            len(dataset),
        )
    return {
        **evaluator.measure(scored.scores, labels, multi_label),
        "epoch": epoch,
        "num_scored": len(labels),
        "num_total": len(dataset),
    }


def in_vain(patience: int, period: int, epoch: int, best: dict) -> str:
    """Why to train no more after ``epoch``, or "": the last ``patience`` validations, one each ``period`` epochs, were
    no better than the best one. 0 is no such limit.
    """
    if not patience or not best or epoch - best["epoch"] < patience * period:
        return ""
    return (
        f"{patience} validations in a row were no better than that after epoch {best['epoch'] + 1} (TRAIN.PATIENCE)"
    )
