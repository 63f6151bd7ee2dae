"""The story of testing: build, load, all views of every video, results."""

from __future__ import annotations

import numpy as np
import torch

from slowfast.datasets.build import build_dataset, build_loader, views_per_batch
from slowfast.engine import chance, evaluator, monitor, partial, results, weights
from slowfast.engine.build import evaluate, tensorboard_dir
from slowfast.engine.chance import ChanceWatch
from slowfast.engine.partial import PartialSink
from slowfast.engine.session import Session, open_session
from slowfast.engine.verdict import median_frames
from slowfast.models import pretrained
from slowfast.models.build import build_model
from slowfast.models.class_names import ClassMatch
from slowfast.utils import checkpoint, distributed, seeds

_NOT_PROTOCOL = ("ENABLE", "RESUME", "CHECKPOINT_FILE_PATH", "TEST_BEST")  # keys of TEST that change no score


def test(cfg) -> dict:
    """Test a checkpoint on the test list as the config says; return what results.json holds.

    Runs in every process of the group, or alone; ranks other than 0 return an empty dict. Writes results.json,
    predictions.csv and scores.npz to OUTPUT_DIR. Unreadable videos are never replaced: they are counted and named.
    """
    cfg, notes = cfg.resolved()
    session = open_session(
        "testing",
        cfg.OUTPUT_DIR,
        notes,
        num_gpus=cfg.NUM_GPUS,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        num_threads=cfg.NUM_THREADS,
    )
    path = distributed.broadcast_object(_checkpoint_path(cfg, session) if session.is_main else None)
    loader = build_loader(cfg, "test")
    with seeds.forked_torch_stream(cfg.RNG_SEED, "init"):
        model = build_model(cfg)
    report, classes = weights.load_for_test(
        path,
        model,
        names=getattr(loader.dataset, "class_names", None),
        names_path=cfg.MODEL.CLASS_NAMES_PATH,
        num_classes=cfg.MODEL.NUM_CLASSES,
    )
    session.log.info("testing %s\n%s", path, report.table())
    session.log.info(weights.describe(report, classes))
    session.keep_config(cfg.dump())
    sink = _sink(cfg, session, model, loader.dataset)
    if sink is not None:
        loader.order.done = sink.done
    recorder = session.recorder(tensorboard_dir(cfg))
    board = monitor.EvalMonitor(recorder, "test", log_period=cfg.LOG_PERIOD)
    board.start(len(loader))
    watch = ChanceWatch(cfg.MODEL.NUM_CLASSES, loader.dataset.views_per_video, session.log.warning)

    def progress(logits: torch.Tensor, labels: torch.Tensor) -> None:
        board.step()
        if not cfg.DATA.MULTI_LABEL:
            watch.see(logits, labels)

    model.to(session.device)
    evaluation = evaluate(cfg, session.device, model, loader, progress, sink)
    if evaluation is None:
        return {}
    summary = _write(cfg, session, path, evaluation, loader.dataset, classes)
    if sink is not None:
        sink.remove()
    board.end(evaluator.errors(summary["video"]))
    recorder.close()
    _log_summary(session, summary)
    return summary


def check(cfg) -> None:
    """Raise now what ``test(cfg)`` would say about its list, for those who train for days before they test."""
    build_dataset(cfg.resolved()[0], "test")


def _sink(cfg, session: Session, model: torch.nn.Module, dataset) -> PartialSink | None:
    """Where scores are kept while they are made, with TEST.RESUME; scores of this very test alone are taken up."""
    if not cfg.TEST.RESUME:
        return None
    protocol = {
        "TEST": {key: value for key, value in cfg.TEST.items() if key not in _NOT_PROTOCOL},
        **{section: dict(cfg[section]) for section in ("DATA", "MODEL", "UNIFORMER")},
        "views per batch": views_per_batch(cfg),
        "device": session.device.type,
        "versions": session.facts["versions"],
    }
    return PartialSink(
        cfg.MODEL.NUM_CLASSES, session.output_dir, partial.fingerprint(model, dataset, protocol)
    )


def _checkpoint_path(cfg, session: Session) -> str:
    """The checkpoint to test, in the published order: named, best, newest of the run, the one training began with."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return str(pretrained.resolve_weights(cfg.TEST.CHECKPOINT_FILE_PATH, cfg.MODEL.WEIGHTS_DIR))
    best = checkpoint.best_path(session.output_dir)
    if cfg.TEST.TEST_BEST and not best.exists():
        raise FileNotFoundError(
            f"{best} does not exist: TEST.TEST_BEST tests the checkpoint that training keeps there. Train first, name "
            "a file with TEST.CHECKPOINT_FILE_PATH, or write TEST.TEST_BEST False"
        )
    path = best if cfg.TEST.TEST_BEST else checkpoint.newest(session.output_dir / checkpoint.FOLDER)
    named = cfg.TRAIN.INIT or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path and named:
        path = pretrained.resolve_weights(named, cfg.MODEL.WEIGHTS_DIR)
    if not path:
        raise FileNotFoundError(
            f"nothing to test: {session.output_dir / checkpoint.FOLDER} holds no checkpoint; "
            "name one with TEST.CHECKPOINT_FILE_PATH"
        )
    return str(path)


def _write(
    cfg, session: Session, path, evaluation: evaluator.Evaluation, dataset, classes: ClassMatch
) -> dict:
    """Records to results.json, predictions.csv and scores.npz; returns the content of the first."""
    records, multi_label = evaluation.records, cfg.DATA.MULTI_LABEL
    scored = evaluator.merge(records, dataset.views_per_video, cfg.DATA.ENSEMBLE_METHOD)
    labels = [dataset.label(int(index)) for index in scored.video_ids]
    view_labels = [dataset.label(int(index)) for index in records.video_ids]
    evaluator.check_scored(scored, evaluation, dataset.name, len(dataset))
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
        "median_num_frames": median_frames(getattr(getattr(dataset, "table", None), "frame_counts", None)),
        "class_order": {"kind": classes.kind, "said": classes.said},
        "warnings": _warnings(cfg, scored, labels),
        "recipe": cfg.RECIPE,
        "checkpoint": str(path),
        "lists": cfg.DATA.PATH_TO_DATA_DIR,
        **session.facts,
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


def _warnings(cfg, scored: evaluator.VideoScores, labels: list) -> list[str]:
    """What is odd about the scores, for results.json."""
    if cfg.DATA.MULTI_LABEL:
        return []
    first = slice(None, chance.NUM_VIDEOS)
    said = chance.complaint(scored.scores[first].argmax(axis=1), labels[first], cfg.MODEL.NUM_CLASSES)
    return [said] if said else []


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
    for warning in summary["warnings"]:
        log.warning(warning)
    for kind in ("unreadable", "damaged"):
        for entry in summary[kind]:
            log.warning("%s: %s: %s", kind, entry["path"], entry["reason"])
