"""The story of training: build, resume or initialise, epochs, validate, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

from slowfast.datasets.build import build_loaders, preprocessing, videos_per_step
from slowfast.engine import data_wait, evaluator, monitor, precision, resuming, weights
from slowfast.engine import optimizer as optimizers
from slowfast.engine.bad_videos import BadVideos, open_account
from slowfast.engine.build import (
    build_step,
    choose_operators,
    choose_recomputation,
    compile_if_wanted,
    describe_rate,
    evaluate,
    learning_rate,
    tensorboard_dir,
)
from slowfast.engine.partial import list_digest
from slowfast.engine.saving import Pauses, Progress, Saver
from slowfast.engine.session import Session, open_session
from slowfast.engine.step import TrainStep
from slowfast.models import complexity, pretrained
from slowfast.models.build import build_model
from slowfast.models.layers import set_step_seed
from slowfast.utils import checkpoint, distributed, environment, seeds

CHECKPOINT_FORMAT = 1


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
    step = build_step(cfg, session.device, distributed.wrap(model, session.device), loader.dataset)
    bad_videos = open_account(session.output_dir, loader.dataset, cfg.DATA.MAX_BAD_FRACTION, session.log)
    progress = _start(cfg, session, model, step, loader, bad_videos)
    progress.operators = _settle(cfg, session, model, step, progress.operators)
    session.keep_config(cfg.dump())
    recorder, board, val_board = _records(cfg, session, progress, len(loader))
    _log_start(cfg, session, model, loader)

    rate = partial(learning_rate, cfg)
    saver = _saver(cfg, session, model, step, loader, progress, board, bad_videos)
    for epoch in range(progress.epoch + 1, cfg.SOLVER.MAX_EPOCH):
        eval_due = _due(cfg.TRAIN.EVAL_PERIOD, epoch, cfg.SOLVER.MAX_EPOCH)
        checkpoint_due = _due(cfg.TRAIN.CHECKPOINT_PERIOD, epoch, cfg.SOLVER.MAX_EPOCH)
        keep = checkpoint_due or cfg.TRAIN.SAVE_LATEST
        if progress.steps_in_epoch < len(loader):
            waited = _train_epoch(step, loader, epoch, progress, rate, board, bad_videos, saver)
            _advise(cfg, session, waited, len(loader.dataset))
            if cfg.BN.USE_PRECISE_STATS and (checkpoint_due or eval_due):
                _precise_bn(cfg, model, loader, step, epoch)
            distributed.broadcast_buffers(model)  # what is validated is what is saved
            if eval_due and keep:
                saver.save_between()
        else:  # all that was left of this epoch is its validation
            board.draw_again(progress.global_step, progress.so_far)
        improved = eval_due and _validate(cfg, session, model, val_loader, progress, val_board, epoch, saver)
        progress.epoch, progress.steps_in_epoch, progress.so_far = epoch, 0, {}
        if improved:  # first, since with the other one this validation counts as done
            saver.save_best()
        if keep:
            saver.save_epoch()
        distributed.barrier()
        if epoch + 1 < cfg.SOLVER.MAX_EPOCH:
            saver.stop_after_epoch()
    recorder.close()
    skipped = step.guard.check(progress.epoch, rate(float(cfg.SOLVER.MAX_EPOCH)))
    return _result(session, progress, skipped, loader.dataset, bad_videos)


def _result(session: Session, progress: Progress, skipped_steps: int, dataset, bad_videos: BadVideos) -> dict:
    newest = checkpoint.newest(session.output_dir / checkpoint.FOLDER) if session.is_main else None
    return {
        "epochs": progress.epoch + 1,
        "steps": progress.global_step,
        "skipped_steps": skipped_steps,
        "best": progress.best,
        "val": progress.val,
        "unreadable": {dataset.name(index): reason for index, reason in bad_videos.reasons.items()},
        "checkpoint": distributed.broadcast_object(newest and str(newest)),
    }


def _settle(cfg, session: Session, model: nn.Module, step: TrainStep, operators: dict) -> dict:
    """Decide how the model computes, after ``operators`` of an earlier run; returns the plan of its operators.

    In this order: what is recomputed depends on what plain blocks with their operators save.
    """
    modes = ("train", "eval") if cfg.TRAIN.EVAL_PERIOD else ("train",)
    plan = choose_operators(cfg, session, model, operators, *modes)
    choose_recomputation(cfg, session, step)
    compile_if_wanted(cfg, model, session.log)
    return plan


def _records(
    cfg, session: Session, progress: Progress, steps_per_epoch: int
) -> tuple[monitor.Recorder, monitor.TrainMonitor, monitor.EvalMonitor]:
    """Where the run tells of itself: beside what the folder holds already, or in place of what came later there."""
    position = monitor.Position(progress.global_step, progress.steps_in_epoch < steps_per_epoch)
    recorder = session.recorder(tensorboard_dir(cfg), position if cfg.TRAIN.RESUME else None)
    settings = {"log_period": cfg.LOG_PERIOD, "max_epoch": cfg.SOLVER.MAX_EPOCH}
    val_board = monitor.EvalMonitor(recorder, "val", **settings)
    val_board.best = {f"min_{name}": value for name, value in evaluator.errors(progress.best).items()}
    return recorder, monitor.TrainMonitor(recorder, steps_per_epoch=steps_per_epoch, **settings), val_board


def _log_start(cfg, session: Session, model: nn.Module, loader) -> None:
    videos = videos_per_step(cfg)
    session.log.info(
        "%d training videos, %d steps an epoch of %d videos (%d clips), precision %s",
        len(loader.dataset),
        len(loader),
        videos,
        videos * cfg.AUG.NUM_SAMPLE,
        precision.describe(cfg.TRAIN.MIXED_PRECISION, session.device),
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
    saver: Saver,
) -> float:
    """What is left of one pass over the training videos, counted in ``progress``; the share of it spent waiting.

    Once per logging period all processes meet: numbers are averaged, and every process hears of every video
    that could not be read, so that all of them stop together if there are too many.
    """
    step.model.train()
    first = progress.steps_in_epoch
    board.start_epoch(epoch, progress.so_far, steps_before=progress.global_step - first)
    reports: list = []
    for number, batches in enumerate(loader.steps(epoch, first), start=first):
        board.data_ready()
        for batch in batches:
            reports += batch.reports
            if not len(batch):  # neither its videos nor any replacement could be read, so this raises
                bad_videos.add(reports, epoch)
        lr = rate(epoch + number / len(loader))
        optimizers.set_lr(step.optimizer, lr)
        result = step(batches, progress.global_step)
        progress.global_step += 1
        progress.steps_in_epoch += 1
        if board.step(lr=lr, batch_size=sum(map(len, batches)), **vars(result)) is not None:
            step.guard.check(epoch, lr)
            _share_reports(reports, bad_videos, epoch)
        if number + 1 < len(loader):  # after the last step the end of the epoch saves, and stops
            saver.pause(before=partial(_share_reports, reports, bad_videos, epoch))
    step.guard.check(epoch, rate(epoch + 1.0))
    _share_reports(reports, bad_videos, epoch)
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


def _share_reports(reports: list, bad_videos: BadVideos, epoch: int) -> None:
    """Tell all processes what happened to the videos of each since the last time, in one epoch, and forget it."""
    noteworthy = distributed.all_gather_objects(reports)
    for part in noteworthy:
        bad_videos.add(part, epoch)
    reports.clear()


def _start(
    cfg, session: Session, model: nn.Module, step: TrainStep, loader, bad_videos: BadVideos
) -> Progress:
    """Continue from TRAIN.RESUME, or take initial weights from TRAIN.INIT or UNIFORMER.PRETRAIN_NAME, or neither."""
    named = "" if cfg.TRAIN.CHECKPOINT_EPOCH_RESET else cfg.TRAIN.CHECKPOINT_FILE_PATH
    source = session.is_main and resuming.find(cfg.TRAIN.RESUME, named, session.output_dir)
    source = distributed.broadcast_object(source)  # one process looks, so that all agree
    if source:
        return _resume(cfg, session, source, model, step, loader, bad_videos)
    name = cfg.TRAIN.INIT or cfg.UNIFORMER.PRETRAIN_NAME
    if not name:
        session.log.info("training from scratch")
        return Progress()
    path = pretrained.resolve_weights(name, cfg.MODEL.WEIGHTS_DIR)
    report, classes = weights.load_initial(
        path,
        model,
        names=_class_names(loader),
        names_path=cfg.MODEL.CLASS_NAMES_PATH,
        num_classes=cfg.MODEL.NUM_CLASSES,
        allow=cfg.TRAIN.INIT_ALLOW,
    )
    session.log.info("initial weights from %s\n%s", path, report.table())
    session.log.info(weights.describe(report, classes))
    return Progress()


def _resume(
    cfg, session: Session, path: str, model: nn.Module, step: TrainStep, loader, bad_videos: BadVideos
) -> Progress:
    saved = checkpoint.load(path)
    if "optimizer_state" not in saved or "global_step" not in saved:
        raise ValueError(
            f"{path} holds weights but no training state, so no run can go on from it; "
            f"to start a new run from these weights write TRAIN.RESUME '' TRAIN.INIT {path}"
        )
    weights.check_resumed(path, saved, _class_names(loader), cfg.MODEL.NUM_CLASSES)
    resuming.check(path, saved, _same_run(cfg, loader), cfg.TRAIN.RESUME_ALLOW)
    report = pretrained.fit(saved, model, replace_head=False)
    optimizers.load_state(step.optimizer, saved["optimizer_state"], path)
    if saved["scaler_state"]:  # empty where the run had no loss scaling so far
        step.scaler.load_state_dict(saved["scaler_state"])
    step.guard.load_state(saved.get("guard", [0, 0, 0]))
    if "bad_videos" in saved and saved["train_list"] == _same_run(cfg, loader).train_list:
        bad_videos.load_state(saved["bad_videos"])
    session.log.info(
        "resuming %s after epoch %d, step %d (%d of the next epoch)\n%s",
        path,
        saved["epoch"] + 1,
        saved["global_step"],
        saved["batch_in_epoch"],
        report.table(),
    )
    for change in resuming.config_changes(saved["cfg"], cfg.dump()):
        session.log.warning("the config has changed since: %s", change)
    return Progress(
        epoch=saved["epoch"],
        global_step=saved["global_step"],
        steps_in_epoch=saved["batch_in_epoch"],
        so_far=saved.get("so_far", {}),
        best=saved["best"],
        operators=saved.get("operators", {}),
        origin=resuming.origin(path, saved, session.output_dir),
    )


def _same_run(cfg, loader) -> resuming.SameRun:
    return resuming.SameRun(cfg.TRAIN.DATASET, list_digest(loader.dataset), videos_per_step(cfg), cfg.RNG_SEED)


def _class_names(loader) -> Sequence[str] | None:
    return getattr(loader.dataset, "class_names", None)


def _saver(
    cfg,
    session: Session,
    model: nn.Module,
    step: TrainStep,
    loader,
    progress: Progress,
    board: monitor.TrainMonitor,
    bad_videos: BadVideos,
) -> Saver:
    run, names = _same_run(cfg, loader), _class_names(loader)
    return Saver(
        progress,
        board,
        partial(_payload, cfg, session, model, step, run, names, progress, bad_videos),
        output_dir=session.output_dir,
        steps_per_epoch=len(loader),
        keep=cfg.TRAIN.KEEP_CHECKPOINTS,
        pauses=Pauses(cfg.TRAIN.CHECKPOINT_SECONDS, cfg.TRAIN.CHECKPOINT_STEPS),
    )


def _payload(
    cfg,
    session: Session,
    model: nn.Module,
    step: TrainStep,
    run: resuming.SameRun,
    class_names: Sequence[str] | None,
    progress: Progress,
    bad_videos: BadVideos,
) -> dict:
    """What a checkpoint holds."""
    return {
        "format": CHECKPOINT_FORMAT,
        "epoch": progress.epoch,
        "global_step": progress.global_step,
        "batch_in_epoch": progress.steps_in_epoch,
        "so_far": progress.so_far,
        **vars(run),
        "model_state": model.state_dict(),
        "optimizer_state": step.optimizer.state_dict(),
        "scaler_state": step.scaler.state_dict(),
        "guard": step.guard.state(),
        "bad_videos": bad_videos.state(),
        "best": progress.best,
        "origin": progress.origin,
        "cfg": cfg.dump(),
        "operators": progress.operators,
        "class_names": class_names,
        "preprocessing": preprocessing(cfg),
        "versions": session.facts,
    }


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
    cfg,
    session: Session,
    model: nn.Module,
    loader,
    progress: Progress,
    board: monitor.EvalMonitor,
    epoch: int,
    saver: Saver,
) -> bool:
    """Score the validation list, one centre view per video; returns whether it is the best so far."""
    board.start(len(loader), epoch, progress.global_step)

    def report(logits: torch.Tensor, labels: torch.Tensor) -> None:
        board.step(**evaluator.batch_errors(logits, labels))
        saver.stop_in_validation()

    evaluation = evaluate(cfg, session.device, model, loader, report)
    judged = None
    if evaluation is not None:
        judged = _judge(cfg, session, evaluation, loader.dataset, epoch)
        board.end(evaluator.errors(judged))
    progress.val = distributed.broadcast_object(judged)
    key = "map" if cfg.DATA.MULTI_LABEL else "top1"
    improved = progress.val[key] > progress.best.get(key, -1.0)
    if improved:
        progress.best = progress.val
    return improved


def _judge(cfg, session: Session, evaluation: evaluator.Evaluation, dataset, epoch: int) -> dict:
    """Validation records to numbers; the videos that could not be read, or not to their end, are named in the log."""
    scored = evaluator.merge(evaluation.records, dataset.views_per_video, cfg.DATA.ENSEMBLE_METHOD)
    labels = [dataset.label(int(index)) for index in scored.video_ids]
    evaluator.check_scored(scored, evaluation, dataset.name, len(dataset))
    for index, reason in evaluation.unreadable:
        session.log.warning("validation leaves out an unreadable video: %s: %s", dataset.name(index), reason)
    for index, reason in evaluation.damaged:
        session.log.warning(
            "validation scores a damaged video as far as it goes: %s: %s", dataset.name(index), reason
        )
    if evaluation.unreadable or evaluation.damaged:
        session.log.warning(
            "validation: %d unreadable, %d damaged, %d of %d videos scored",
            len(evaluation.unreadable),
            len(evaluation.damaged),
            len(labels),
            len(dataset),
        )
    return {
        **evaluator.measure(scored.scores, labels, cfg.DATA.MULTI_LABEL),
        "epoch": epoch,
        "num_scored": len(labels),
        "num_total": len(dataset),
    }
