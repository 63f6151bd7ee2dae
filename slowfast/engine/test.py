"""The story of testing: build, load, all views of every video, results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from slowfast.datasets.build import build_device_stage, build_loader
from slowfast.engine import evaluator, monitor, precision, results
from slowfast.engine.build import tensorboard_dir
from slowfast.engine.session import Session, open_session
from slowfast.models import pretrained
from slowfast.models.build import build_model
from slowfast.utils import checkpoint, environment


def test(cfg) -> dict:
    """Test a checkpoint on the test list as the config says; return what results.json holds.

    Runs in every process of the group, or alone; ranks other than 0 return an empty dict. Writes results.json,
    predictions.csv and scores.npz to OUTPUT_DIR. Unreadable videos are never replaced: they are counted and named.
    """
    session = open_session(
        "testing",
        cfg.OUTPUT_DIR,
        cfg.dump(),
        num_gpus=cfg.NUM_GPUS,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        num_threads=cfg.NUM_THREADS,
    )
    path = _checkpoint_path(cfg, session)
    loader = build_loader(cfg, "test")
    model = build_model(cfg)
    report = pretrained.fit(checkpoint.load(path), model, replace_head=False)
    session.log.info("testing %s (%d parameters and buffers matched)", path, len(report.matched))
    recorder = session.recorder(tensorboard_dir(cfg))
    board = monitor.EvalMonitor(recorder, "test", log_period=cfg.LOG_PERIOD)
    board.start(len(loader))
    sink = evaluator.RecordSink(cfg.MODEL.NUM_CLASSES)
    evaluator.run(
        model.to(session.device),
        loader,
        build_device_stage(cfg),
        sink,
        device=session.device,
        views_per_batch=cfg.TEST.BATCH_SIZE // max(1, cfg.NUM_GPUS),
        dtype=precision.resolve(cfg.TEST.MIXED_PRECISION, session.device),
        progress=lambda logits, labels: board.step(),
    )
    evaluation = sink.gather()
    if evaluation is None:
        return {}
    summary = _write(cfg, session, path, evaluation, loader.dataset)
    board.end(evaluator.errors(summary["video"]))
    recorder.close()
    _log_summary(session, summary)
    return summary


def _checkpoint_path(cfg, session: Session) -> Path | str:
    """The checkpoint to test, in the published order: named, best, newest of the run, the one training began with."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return cfg.TEST.CHECKPOINT_FILE_PATH
    best = checkpoint.best_path(session.output_dir)
    if cfg.TEST.TEST_BEST and not best.exists():
        raise FileNotFoundError(
            f"{best} does not exist: TEST.TEST_BEST tests the checkpoint that training keeps there. Train first, name "
            "a file with TEST.CHECKPOINT_FILE_PATH, or write TEST.TEST_BEST False"
        )
    path = best if cfg.TEST.TEST_BEST else checkpoint.newest(session.output_dir / checkpoint.FOLDER)
    named = cfg.TRAIN.INIT or (cfg.TRAIN.RESUME if cfg.TRAIN.RESUME != "auto" else "")
    if not path and named:
        path = pretrained.resolve_weights(named, cfg.MODEL.WEIGHTS_DIR)
    if not path:
        raise FileNotFoundError(
            f"nothing to test: {session.output_dir / checkpoint.FOLDER} holds no checkpoint; "
            "name one with TEST.CHECKPOINT_FILE_PATH"
        )
    return path


def _write(cfg, session: Session, path, evaluation: evaluator.Evaluation, dataset) -> dict:
    """Records to results.json, predictions.csv and scores.npz; returns the content of the first."""
    records, multi_label = evaluation.records, cfg.DATA.MULTI_LABEL
    scored = evaluator.merge(records, dataset.views_per_video, cfg.DATA.ENSEMBLE_METHOD)
    labels = [dataset.label(int(index)) for index in scored.video_ids]
    view_labels = [dataset.label(int(index)) for index in records.video_ids]
    clip = evaluator.measure(records.logits, view_labels, multi_label)
    clips, crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    summary = {
        "video": evaluator.measure(scored.scores, labels, multi_label),
        "clip": {name: value for name, value in clip.items() if name != "top5"},
        "num_scored": len(labels),
        "num_total": len(dataset),
        "views": f"{cfg.DATA.NUM_FRAMES}x{crops}x{clips}",
        "ensemble_method": cfg.DATA.ENSEMBLE_METHOD,
        "unreadable": [
            {"path": dataset.name(index), "reason": reason} for index, reason in evaluation.unreadable
        ],
        "incomplete": [{"path": dataset.name(index), "views": views} for index, views in scored.incomplete],
        "damaged": [{"path": dataset.name(index), "reason": reason} for index, reason in evaluation.damaged],
        "recipe": cfg.RECIPE,
        "checkpoint": str(path),
        "list": str(Path(cfg.DATA.PATH_TO_DATA_DIR) / "test.csv"),
        **environment.facts(),
    }
    names = getattr(dataset, "class_names", None)
    results.write_predictions(
        session.output_dir / "predictions.csv", _predictions(scored, labels, dataset), names
    )
    results.write_scores(
        session.output_dir / "scores.npz",
        video_ids=records.video_ids,
        view_ids=records.view_ids,
        logits=records.logits,
    )
    results.write_results(session.output_dir / "results.json", summary)
    return summary


def _predictions(scored: evaluator.VideoScores, labels: list, dataset) -> list[results.Prediction]:
    """Ranked by the ensemble's score; the probability is the softmax of the mean logits of the views."""
    probabilities = torch.from_numpy(scored.mean_logits).softmax(dim=1).numpy()
    rows = zip(scored.video_ids, labels, scored.scores, probabilities, strict=True)
    return [
        results.Prediction(dataset.name(int(index)), label, np.asarray(score), np.asarray(probability))
        for index, label, score, probability in rows
    ]


def _log_summary(session: Session, summary: dict) -> None:
    log = session.log
    values = ", ".join(f"{name} {value:.2f}" for name, value in summary["video"].items())
    log.info(
        "%s over %d of %d videos, views %s; see %s",
        values,
        summary["num_scored"],
        summary["num_total"],
        summary["views"],
        session.output_dir / "results.json",
    )
    for kind in ("unreadable", "damaged"):
        for entry in summary[kind]:
            log.warning("%s: %s: %s", kind, entry["path"], entry["reason"])
