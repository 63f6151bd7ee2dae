"""The story of training: build, resume or initialise, epochs, validate, save."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from slowfast.datasets.build import build_loaders, preprocessing, videos_per_step
from slowfast.engine import data_wait, evaluator, monitor, weights
from slowfast.engine import optimizer as optimizers
from slowfast.engine.bad_videos import BadVideos
from slowfast.engine.build import (
    build_step,
    choose_operators,
    choose_recomputation,
    describe_rate,
    evaluate,
    learning_rate,
    tensorboard_dir,
)
from slowfast.engine.session import Session, open_session
from slowfast.engine.step import TrainStep
from slowfast.models import complexity, pretrained
from slowfast.models.build import build_model
from slowfast.models.layers import set_step_seed
from slowfast.utils import checkpoint, distributed, environment, seeds

CHECKPOINT_FORMAT = 1


@dataclass
class Progress:
    """How far a run has come: ``epoch`` is the last finished one counted from 0 (-1: none), ``best`` the best
    validation so far and ``val`` the last one of this process's life, both with epoch and counts of videos;
    ``operators`` is the plan by which the model computes."""

    epoch: int = -1
    global_step: int = 0
    best: dict = field(default_factory=dict)
    val: dict = field(default_factory=dict)
    operators: dict = field(default_factory=dict)


def train(cfg) -> dict:
    """Train as the config says and return what came of it; a config that is not frozen is checked first.

    Runs in every process of the group that slowfast.utils.launch has set up, or alone. The result holds
    ``epochs``, ``steps``, ``skipped_steps``, ``best``, ``val`` (last validation; both empty without any),
    ``unreadable`` (path -> reason) and ``checkpoint`` (the newest, a path).
    """
    cfg, notes = cfg.resolved()
    session = open_session(
        "training",
        cfg.OUTPUT_DIR,
        notes,
        num_gpus=cfg.NUM_GPUS,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        num_threads=cfg.NUM_THREADS,
    )
    loader, *others = build_loaders(cfg, ("train", "val") if cfg.TRAIN.EVAL_PERIOD else ("train",))
    val_loader = others[0] if others else None
    with seeds.forked_torch_stream(cfg.RNG_SEED, "init"):
        model = build_model(cfg)
    model.to(session.device)
    step = build_step(cfg, session.device, distributed.wrap(model, session.device))
    progress = _start(cfg, session, model, step, getattr(loader.dataset, "class_names", None))
    modes = ("train", "eval") if cfg.TRAIN.EVAL_PERIOD else ("train",)
    progress.operators = choose_operators(cfg, session, model, progress.operators, *modes)
    choose_recomputation(cfg, session, step)
    session.keep_config(cfg.dump())
    recorder = session.recorder(tensorboard_dir(cfg))
    board = monitor.TrainMonitor(
        recorder, log_period=cfg.LOG_PERIOD, steps_per_epoch=len(loader), max_epoch=cfg.SOLVER.MAX_EPOCH
    )
    val_board = monitor.EvalMonitor(
        recorder, "val", log_period=cfg.LOG_PERIOD, max_epoch=cfg.SOLVER.MAX_EPOCH
    )
    val_board.best = {f"min_{name}": value for name, value in evaluator.errors(progress.best).items()}
    bad_videos = BadVideos(loader.dataset.name, cfg.DATA.MAX_BAD_FRACTION, session.log)
    _log_start(cfg, session, model, loader, step.dtype)

    rate = partial(learning_rate, cfg)
    save = partial(_save, cfg, session, model, step, progress, loader)
    for epoch in range(progress.epoch + 1, cfg.SOLVER.MAX_EPOCH):
        waited = _train_epoch(step, loader, epoch, progress, rate, board, bad_videos)
        _advise(cfg, session, waited, len(loader.dataset))
        progress.epoch = epoch
        checkpoint_due = _due(cfg.TRAIN.CHECKPOINT_PERIOD, epoch, cfg.SOLVER.MAX_EPOCH)
        eval_due = _due(cfg.TRAIN.EVAL_PERIOD, epoch, cfg.SOLVER.MAX_EPOCH)
        if cfg.BN.USE_PRECISE_STATS and (checkpoint_due or eval_due):
            _precise_bn(cfg, model, loader, step, epoch)
        distributed.broadcast_buffers(model)  # what is validated is what is saved
        keep = checkpoint_due or cfg.TRAIN.SAVE_LATEST
        if keep:
            save(checkpoint.epoch_path(session.output_dir, epoch + 1))
        if eval_due and _validate(cfg, session, model, val_loader, progress, val_board):
            save(checkpoint.best_path(session.output_dir))
            if (
                keep
            ):  # once more, now that it can tell the best score; after the best one, in case we stop between
                save(checkpoint.epoch_path(session.output_dir, epoch + 1))
        distributed.barrier()
    recorder.close()
    newest = checkpoint.newest(session.output_dir / checkpoint.FOLDER) if session.is_main else None
    return {
        "epochs": progress.epoch + 1,
        "steps": progress.global_step,
        "skipped_steps": step.guard.check(progress.epoch, rate(float(cfg.SOLVER.MAX_EPOCH))),
        "best": progress.best,
        "val": progress.val,
        "unreadable": {loader.dataset.name(index): reason for index, reason in bad_videos.reasons.items()},
        "checkpoint": distributed.broadcast_object(newest and str(newest)),
    }


def _log_start(cfg, session: Session, model: nn.Module, loader, dtype: torch.dtype | None) -> None:
    videos = videos_per_step(cfg)
    session.log.info(
        "%d training videos, %d steps an epoch of %d videos (%d clips), precision %s",
        len(loader.dataset),
        len(loader),
        videos,
        videos * cfg.AUG.NUM_SAMPLE,
        dtype or torch.float32,
    )
    session.log.info("highest learning rate (@ videos a step): %s", describe_rate(cfg))
    if cfg.LOG_MODEL_INFO and session.is_main:
        side = cfg.DATA.TRAIN_CROP_SIZE
        shape = (1, cfg.DATA.INPUT_CHANNEL_NUM[0], cfg.DATA.NUM_FRAMES, side, side)
        session.log.info("%s: %s", cfg.MODEL.MODEL_NAME, _cost(model, shape))


def _cost(model: nn.Module, shape: tuple[int, ...]) -> str:
    try:
        cost = complexity.count(model, shape)
    except Exception as error:  # a user's own model may not be traceable, which is no reason to stop
        return f"cost not counted ({error})"
    return f"{cost['parameters'] / 1e6:.3f} M parameters, {cost['macs'] / 1e9:.3f} GMACs a view"


def _train_epoch(
    step: TrainStep,
    loader,
    epoch: int,
    progress: Progress,
    rate: Callable[[float], float],
    board: monitor.TrainMonitor,
    bad_videos: BadVideos,
) -> float:
    """One pass over the training videos; counts steps in ``progress``. Returns the share of it spent waiting for data.

    Once per logging period all processes meet: numbers are averaged, and every process hears of every video
    that could not be read, so that all of them stop together if there are too many.
    """
    step.model.train()
    board.start_epoch(epoch)
    reports: list = []
    for number, batches in enumerate(loader.steps(epoch)):
        board.data_ready()
        for batch in batches:
            reports += batch.reports
            if not len(batch):  # neither its videos nor any replacement could be read, so this raises
                bad_videos.add(reports)
        lr = rate(epoch + number / len(loader))
        optimizers.set_lr(step.optimizer, lr)
        result = step(batches, progress.global_step)
        progress.global_step += 1
        if board.step(lr=lr, batch_size=sum(map(len, batches)), **vars(result)) is not None:
            step.guard.check(epoch, lr)
            _share_reports(reports, bad_videos)
    step.guard.check(epoch, rate(epoch + 1.0))
    _share_reports(reports, bad_videos)
    return board.end_epoch()["data_wait"]


def _advise(cfg, session: Session, waited: float, num_videos: int) -> None:
    """Name in the log the one setting to change, if much of the epoch was spent waiting for data."""
    max_workers = environment.cap_workers(environment.num_cores(), distributed.processes_on_this_host())
    line = data_wait.advice(
        waited,
        num_workers=min(cfg.DATA_LOADER.NUM_WORKERS, max_workers),
        max_workers=max_workers,
        cached=bool(cfg.DATA.CACHE_SHORT_SIDE),
        num_videos=num_videos,
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
    )
    if line:
        session.log.warning(line)


def _share_reports(reports: list, bad_videos: BadVideos) -> None:
    """Tell all processes what happened to the videos of each since the last time, and forget it."""
    noteworthy = distributed.all_gather_objects(reports)
    for part in noteworthy:
        bad_videos.add(part)
    reports.clear()


def _start(cfg, session: Session, model: nn.Module, step: TrainStep, names: Sequence[str] | None) -> Progress:
    """Continue from TRAIN.RESUME, or take initial weights from TRAIN.INIT or UNIFORMER.PRETRAIN_NAME, or neither."""
    source = cfg.TRAIN.RESUME
    if source == "auto":  # one process looks, so that all agree; then the file of PySlowFast's name
        named = "" if cfg.TRAIN.CHECKPOINT_EPOCH_RESET else cfg.TRAIN.CHECKPOINT_FILE_PATH
        found = session.is_main and checkpoint.newest(session.output_dir / checkpoint.FOLDER)
        source = distributed.broadcast_object(str(found or named))
    if source:
        return _resume(cfg, session, source, model, step, names)
    name = cfg.TRAIN.INIT or cfg.UNIFORMER.PRETRAIN_NAME
    if not name:
        session.log.info("training from scratch")
        return Progress()
    path = pretrained.resolve_weights(name, cfg.MODEL.WEIGHTS_DIR)
    report, classes = weights.load_initial(
        path,
        model,
        names=names,
        names_path=cfg.MODEL.CLASS_NAMES_PATH,
        num_classes=cfg.MODEL.NUM_CLASSES,
        allow=cfg.TRAIN.INIT_ALLOW,
    )
    session.log.info("initial weights from %s\n%s", path, report.table())
    session.log.info(weights.describe(report, classes))
    return Progress()


def _resume(
    cfg, session: Session, path: str, model: nn.Module, step: TrainStep, names: Sequence[str] | None
) -> Progress:
    saved = checkpoint.load(path)
    global_batch = videos_per_step(cfg)
    if "optimizer_state" not in saved or "global_step" not in saved:
        raise ValueError(
            f"{path} holds weights but no training state, so no run can go on from it; "
            f"to start a new run from these weights write TRAIN.RESUME '' TRAIN.INIT {path}"
        )
    if saved["global_batch"] != global_batch:
        raise ValueError(
            f"{path} was trained with {saved['global_batch']} videos a step, this run has {global_batch}: go on with "
            "the same TRAIN.BATCH_SIZE x NUM_SHARDS x TRAIN.ACCUMULATION_STEPS, or start a new run (another "
            "OUTPUT_DIR) with TRAIN.INIT"
        )
    weights.check_resumed(path, saved, names, cfg.MODEL.NUM_CLASSES)
    report = pretrained.fit(saved, model, replace_head=False)
    optimizers.load_state(step.optimizer, saved["optimizer_state"], path)
    if saved["scaler_state"]:  # empty where the run had no loss scaling so far
        step.scaler.load_state_dict(saved["scaler_state"])
    session.log.info(
        "resuming %s after epoch %d, step %d\n%s",
        path,
        saved["epoch"] + 1,
        saved["global_step"],
        report.table(),
    )
    for line in difflib.ndiff(saved["cfg"].splitlines(), cfg.dump().splitlines()):
        if line.startswith(("- ", "+ ")):
            session.log.warning("config of the checkpoint (-) and of this run (+): %s", line)
    return Progress(
        saved["epoch"], saved["global_step"], saved["best"], operators=saved.get("operators", {})
    )


def _save(cfg, session: Session, model, step: TrainStep, progress: Progress, loader, path: Path) -> None:
    """Write a checkpoint, on rank 0, and remove what the retention rule does not keep."""
    if not session.is_main:
        return
    payload = {
        "format": CHECKPOINT_FORMAT,
        "epoch": progress.epoch,
        "global_step": progress.global_step,
        "batch_in_epoch": 0,
        "global_batch": videos_per_step(cfg),
        "model_state": model.state_dict(),
        "optimizer_state": step.optimizer.state_dict(),
        "scaler_state": step.scaler.state_dict(),
        "best": progress.best,
        "cfg": cfg.dump(),
        "operators": progress.operators,
        "class_names": getattr(loader.dataset, "class_names", None),
        "preprocessing": preprocessing(cfg),
        "versions": session.facts,
    }
    checkpoint.save(payload, path)
    checkpoint.prune(session.output_dir / checkpoint.FOLDER, cfg.TRAIN.KEEP_CHECKPOINTS)


def _due(period: int, epoch: int, max_epoch: int) -> bool:
    """Every ``period`` epochs, and after the last one; never with period 0."""
    return period > 0 and ((epoch + 1) % period == 0 or epoch + 1 == max_epoch)


def _precise_bn(cfg, model: nn.Module, loader, step: TrainStep, epoch: int) -> None:
    """Batch-norm statistics anew, from augmented training batches of this process; see fvcore."""
    from fvcore.nn.precise_bn import update_bn_stats  # here: importing fvcore.nn compiles things and warns

    def inputs() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(loader.epoch(epoch)):
            seed = seeds.derive(cfg.RNG_SEED, "precise bn", epoch, number, distributed.rank())
            set_step_seed(model, seed)
            yield step.prepare(batch.clips.to(step.device), batch.erase_boxes, batch.noise_seeds)

    model.train()
    update_bn_stats(model, inputs(), min(cfg.BN.NUM_BATCHES_PRECISE, len(loader)))


def _validate(
    cfg, session: Session, model: nn.Module, loader, progress: Progress, board: monitor.EvalMonitor
) -> bool:
    """Score the validation list, one centre view per video; returns whether it is the best so far."""
    board.start(len(loader), progress.epoch)
    evaluation = evaluate(
        cfg,
        session.device,
        model,
        loader,
        lambda logits, labels: board.step(**evaluator.batch_errors(logits, labels)),
    )
    judged = None
    if evaluation is not None:
        judged = _judge(cfg, session, evaluation, loader.dataset, progress)
        board.end(evaluator.errors(judged), progress.global_step)
    progress.val = distributed.broadcast_object(judged)
    key = "map" if cfg.DATA.MULTI_LABEL else "top1"
    improved = progress.val[key] > progress.best.get(key, -1.0)
    if improved:
        progress.best = progress.val
    return improved


def _judge(cfg, session: Session, evaluation: evaluator.Evaluation, dataset, progress: Progress) -> dict:
    """Validation records to numbers; the videos that could not be read are named in the log."""
    scored = evaluator.merge(evaluation.records, dataset.views_per_video, cfg.DATA.ENSEMBLE_METHOD)
    labels = [dataset.label(int(index)) for index in scored.video_ids]
    evaluator.check_scored(scored, evaluation, dataset.name, len(dataset))
    for index, reason in evaluation.unreadable:
        session.log.warning("validation leaves out an unreadable video: %s: %s", dataset.name(index), reason)
    return {
        **evaluator.measure(scored.scores, labels, cfg.DATA.MULTI_LABEL),
        "epoch": progress.epoch,
        "num_scored": len(labels),
        "num_total": len(dataset),
    }
