"""The story of testing: build, load, all views of every video, results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from slowfast.datasets import sampling
from slowfast.datasets.build import build_dataset, build_loader, clip_counts, views_per_batch
from slowfast.engine import chance, compiling, evaluator, monitor, partial, precision, results, weights
from slowfast.engine.build import choose_operators, compile_if_wanted, evaluate, tensorboard_dir
from slowfast.engine.chance import ChanceWatch
from slowfast.engine.partial import PartialSink
from slowfast.engine.session import Session, open_session
from slowfast.engine.verdict import median_frames, views_text
from slowfast.models import pretrained
from slowfast.models.build import build_model
from slowfast.models.class_names import ClassMatch
from slowfast.models.folding import fold
from slowfast.utils import checkpoint, distributed, seeds, stopping

_NOT_PROTOCOL = ("ENABLE", "RESUME", "CHECKPOINT_FILE_PATH", "TEST_BEST")  # keys of TEST that change no score


def test(cfg) -> dict:
    """Test a checkpoint on the test list as the config says; return what results.json holds.

    Runs in every process of the group, or alone; ranks other than 0 return an empty dict. Writes results.json,
    predictions.csv and scores.npz to OUTPUT_DIR, per_class.csv where each video has one label, and submission.csv where
    the test list has no true ones. Unreadable videos are never replaced: they are counted and named.
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
    unlabelled = _why_unlabelled(cfg, loader.dataset)
    if unlabelled:
        session.log.warning("no accuracy will be given, but submission.csv: %s", unlabelled)
    with seeds.forked_torch_stream(cfg.RNG_SEED, "init"):
        model = build_model(cfg)
    report, classes, saved = weights.load_for_test(
        path,
        model,
        names=getattr(loader.dataset, "class_names", None),
        names_path=cfg.MODEL.CLASS_NAMES_PATH,
        num_classes=cfg.MODEL.NUM_CLASSES,
        slice_head=cfg.MODEL.SLICE_HEAD,
    )
    session.log.info("testing %s\n%s", path, report.table())
    session.keep_threads(cfg.NUM_THREADS, saved.num_threads)
    session.log.info(weights.describe(report, classes))
    session.log.info("%d batch norms and layer scales became part of their neighbours", fold(model))
    model.to(session.device)
    plan = choose_operators(cfg, session, model, saved.operators, "eval")
    compile_if_wanted(cfg, model, session.log)
    session.log.info("precision %s", precision.describe(cfg.TEST.MIXED_PRECISION, session.device))
    session.keep_config(cfg.dump())
    sink = _sink(cfg, session, model, loader.dataset, plan)
    if sink is not None:
        loader.order.done = sink.done
    recorder = session.recorder(tensorboard_dir(cfg), is_test=True)
    board = monitor.EvalMonitor(recorder, "test", log_period=cfg.LOG_PERIOD)
    board.start(len(loader))
    watch = ChanceWatch(cfg.MODEL.NUM_CLASSES, session.log.warning)
    watched = not (unlabelled or cfg.DATA.MULTI_LABEL)
    if watched and sink is not None:
        watch.see(*_taken_up(sink, loader.dataset))

    def progress(logits: torch.Tensor, labels: torch.Tensor) -> None:
        if stopping.asked():
            raise _stopped(sink)
        board.step()
        if watched:
            watch.see(logits, labels)

    evaluation = evaluate(cfg, session.device, model, loader, progress, sink)
    if evaluation is None:
        return {}
    compiled, threads = compiling.is_compiled(model), session.num_threads
    facts = {"operators": plan, "compiled": compiled, "num_threads": threads}
    summary = _write(cfg, session, path, evaluation, loader.dataset, unlabelled, classes, facts)
    if sink is not None:
        sink.remove()
    board.end(evaluator.errors(summary["video"]))
    recorder.close()
    _log_summary(session, summary)
    return summary


def _stopped(sink: PartialSink | None) -> stopping.Stopped:
    """What to raise where a signal asks to stop, once the scores so far are kept, if they are to be."""
    if sink is None:
        return stopping.Stopped(stopping.asked(), "in the test (TEST.RESUME is False: it will begin anew)")
    sink.keep()
    return stopping.Stopped(stopping.asked(), "in the test, with the scores so far kept")


def check(cfg) -> None:
    """Raise now what ``test(cfg)`` would say about its list, for those who train for days before they test."""
    build_dataset(cfg.resolved()[0], "test")


def _sink(cfg, session: Session, model: torch.nn.Module, dataset, plan: dict) -> PartialSink | None:
    """Where scores are kept while they are made, with TEST.RESUME; scores of this very test alone are taken up."""
    if not cfg.TEST.RESUME:
        return None
    protocol = {
        "TEST": {key: value for key, value in cfg.TEST.items() if key not in _NOT_PROTOCOL},
        **{section: dict(cfg[section]) for section in ("DATA", "MODEL", "UNIFORMER")},
        "views per batch": views_per_batch(cfg),
        "operators": plan,
        "device": session.device.type,
        "versions": session.facts["versions"],
    }
    return PartialSink(
        cfg.MODEL.NUM_CLASSES, session.output_dir, partial.fingerprint(model, dataset, protocol)
    )


def _taken_up(sink: PartialSink, dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels, as ChanceWatch sees them, of the videos that an earlier run scored."""
    records = sink.taken_up()
    labels = [dataset.label(int(index)) for index in records.video_ids]
    return torch.from_numpy(records.logits), torch.tensor(labels, dtype=torch.int64)


def _checkpoint_path(cfg, session: Session) -> str:
    """The checkpoint to test, in the published order: named, best, newest of the run, the one training began with."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return str(
            pretrained.resolve_weights(
                cfg.TEST.CHECKPOINT_FILE_PATH, cfg.MODEL.WEIGHTS_DIR, for_training=False
            )
        )
    best = checkpoint.best_path(session.output_dir)
    if cfg.TEST.TEST_BEST and not best.exists():
        raise FileNotFoundError(
            f"{best} does not exist: TEST.TEST_BEST tests the checkpoint that training keeps there. Train first, name "
            "a file with TEST.CHECKPOINT_FILE_PATH, or write TEST.TEST_BEST False"
        )
    path = best if cfg.TEST.TEST_BEST else checkpoint.newest(session.output_dir / checkpoint.FOLDER)
    named = cfg.TRAIN.INIT or cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path and named:
        path = pretrained.resolve_weights(named, cfg.MODEL.WEIGHTS_DIR, for_training=False)
    if not path:
        raise FileNotFoundError(
            f"nothing to test: {session.output_dir / checkpoint.FOLDER} holds no checkpoint; "
            "name one with TEST.CHECKPOINT_FILE_PATH"
        )
    return str(path)


def _why_unlabelled(cfg, dataset) -> str:
    labels = (dataset.label(index) for index in range(len(dataset)))
    path = getattr(dataset, "list_path", "")
    return evaluator.why_unlabelled(labels, cfg.TEST.HAS_LABELS, cfg.MODEL.NUM_CLASSES, path)


def _write(
    cfg,
    session: Session,
    path,
    evaluation: evaluator.Evaluation,
    dataset,
    unlabelled: str,
    classes: ClassMatch,
    facts: dict,
) -> dict:
    """Records to results.json and the files beside it (see `test`); the content of the first."""
    records = evaluation.records.of_views(range(dataset.views_per_video))
    scored = evaluator.merge(records, dataset.views_per_video, cfg.DATA.ENSEMBLE_METHOD)
    evaluator.check_scored(scored, evaluation, dataset.name, len(dataset))
    equal = evaluator.num_equal_crops(records, cfg.TEST.NUM_SPATIAL_CROPS)
    if equal:
        session.log.info("%d clips are square: all their crops are the same and were computed once", equal)
    clip = _measure(cfg, records.video_ids, records.logits, dataset, unlabelled)
    by_clips = _by_clips(cfg, evaluation, dataset, unlabelled) if cfg.TEST.NUM_TEMPORAL_CLIPS else {}
    summary = {
        "video": _measure(cfg, scored.video_ids, scored.scores, dataset, unlabelled),
        "video_missing_wrong": _measure(
            cfg, scored.video_ids, scored.scores, dataset, unlabelled, _missing(scored, len(dataset))
        ),
        "clip": {name: value for name, value in clip.items() if name != "top5"},
        **({"no_accuracy": unlabelled} if unlabelled else {}),
        **({"by_clips": by_clips} if by_clips else {}),
        "num_scored": len(scored.video_ids),
        "num_total": len(dataset),
        "num_views_missing": len(dataset) * dataset.views_per_video - len(records),
        "views": _views(cfg, cfg.TEST.NUM_ENSEMBLE_VIEWS),
        "ensemble_method": cfg.DATA.ENSEMBLE_METHOD,
        "unreadable": [
            {"path": dataset.name(index), "reason": reason} for index, reason in evaluation.unreadable
        ],
        "incomplete": [{"path": dataset.name(index), "views": views} for index, views in scored.incomplete],
        "damaged": [{"path": dataset.name(index), "reason": reason} for index, reason in evaluation.damaged],
        "median_num_frames": median_frames(getattr(getattr(dataset, "table", None), "frame_counts", None)),
        "class_order": {"kind": classes.kind, "said": classes.said},
        "warnings": _warnings(cfg, scored, dataset, unlabelled),
        **facts,
        "recipe": cfg.RECIPE,
        "checkpoint": str(path),
        "lists": cfg.DATA.PATH_TO_DATA_DIR,
        "list": getattr(dataset, "list_path", ""),
        **session.facts,
    }
    names = getattr(dataset, "class_names", None)
    predictions = _predictions(scored, dataset, unlabelled)
    results.write_predictions(session.output_dir / "predictions.csv", predictions, names)
    if unlabelled:
        results.write_submission(session.output_dir / "submission.csv", predictions, names)
    elif not cfg.DATA.MULTI_LABEL:
        results.write_per_class(session.output_dir / "per_class.csv", predictions, cfg.MODEL.NUM_CLASSES, names)
    results.write_scores(
        session.output_dir / "scores.npz",
        video_ids=records.video_ids,
        view_ids=records.view_ids,
        logits=records.logits,
    )
    results.write_results(session.output_dir / "results.json", summary)
    return summary


def _warnings(cfg, scored: evaluator.VideoScores, dataset, unlabelled: str) -> list[str]:
    """What is odd about the scores, for results.json."""
    if unlabelled or cfg.DATA.MULTI_LABEL:
        return []
    first = slice(None, chance.NUM_VIDEOS)
    labels = [dataset.label(int(index)) for index in scored.video_ids[first]]
    said = chance.complaint(scored.scores[first].argmax(axis=1), labels, cfg.MODEL.NUM_CLASSES)
    return [said] if said else []


def _by_clips(cfg, evaluation: evaluator.Evaluation, dataset, unlabelled: str) -> dict:
    """Measures of every number of clips that this test served, as a test with it alone would give them."""
    measured = {}
    crops = cfg.TEST.NUM_SPATIAL_CROPS
    for count, views in sorted(sampling.view_ranges(clip_counts(cfg), crops).items()):
        scored = evaluator.merge(evaluation.records.of_views(views), count * crops, cfg.DATA.ENSEMBLE_METHOD)
        evaluator.check_scored(scored, evaluation, dataset.name, len(dataset))
        video = _measure(cfg, scored.video_ids, scored.scores, dataset, unlabelled)
        measured[str(count)] = {**video, "num_scored": len(scored.video_ids), "views": _views(cfg, count)}
    return measured


def _measure(
    cfg, video_ids: np.ndarray, scores: np.ndarray, dataset, unlabelled: str, missing: Sequence[int] = ()
) -> dict:
    """Accuracy of rows of scores (N, K) of these videos, and of ``missing`` ones as wrong; {} without true labels."""
    if unlabelled:
        return {}
    labels, others = ([dataset.label(int(index)) for index in indices] for indices in (video_ids, missing))
    return evaluator.measure(scores, labels, cfg.DATA.MULTI_LABEL, others)


def _missing(scored: evaluator.VideoScores, num_total: int) -> list[int]:
    """Videos of which not every view has a score."""
    return np.setdiff1d(np.arange(num_total), scored.video_ids).tolist()


def _views(cfg, num_clips: int) -> str:
    return views_text(cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_SPATIAL_CROPS, num_clips)


def _predictions(scored: evaluator.VideoScores, dataset, unlabelled: str) -> list[results.Prediction]:
    """Ranked by the ensemble's score; the probability is the softmax of the mean logits of the views."""
    labels = [() if unlabelled else dataset.label(int(index)) for index in scored.video_ids]
    probabilities = torch.from_numpy(scored.mean_logits).softmax(dim=1).numpy()
    rows = zip(scored.video_ids, labels, scored.scores, probabilities, strict=True)
    return [
        results.Prediction(dataset.name(int(index)), label, np.asarray(score), np.asarray(probability))
        for index, label, score, probability in rows
    ]


def _accuracy(measures: dict) -> str:
    return ", ".join(
        f"{name} {value:.2f}" for name, value in measures.items() if name in ("top1", "top5", "map")
    )


def _log_summary(session: Session, summary: dict) -> None:
    log = session.log
    whole = {**summary["video"], "num_scored": summary["num_scored"], "views": summary["views"]}
    others = [entry for entry in summary.get("by_clips", {}).values() if entry["views"] != whole["views"]]
    for entry in (*others, whole):
        log.info(
            "%s over %d of %d videos, views %s",
            _accuracy(entry) or "predictions without accuracy",
            entry["num_scored"],
            summary["num_total"],
            entry["views"],
        )
    if summary["num_views_missing"]:
        log.warning(
            "%d views and so %d videos are missing; counted as wrong: %s",
            summary["num_views_missing"],
            summary["num_total"] - summary["num_scored"],
            _accuracy(summary["video_missing_wrong"]) or "no accuracy",
        )
    log.info("see %s", session.output_dir / "results.json")
    for warning in summary["warnings"]:
        log.warning(warning)
    for kind in ("unreadable", "damaged"):
        for entry in summary[kind]:
            log.warning("%s: %s: %s", kind, entry["path"], entry["reason"])
