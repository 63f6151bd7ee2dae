"""The story of training: build, resume or initialise, epochs, validate, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import nn

from slowfast.datasets.build import build_loaders, preprocessing, videos_per_step
from slowfast.engine import (
    data_wait,
    evaluator,
    monitor,
    precise_bn,
    precision,
    resuming,
    rollback,
    validation,
    weights,
)
from slowfast.engine import optimizer as optimizers
from slowfast.engine.alarms import Alarms
from slowfast.engine.bad_videos import BadVideos, open_account
from slowfast.engine.build import (
    build_alarms,
    build_step,
    choose_operators,
    choose_recomputation,
    compile_if_wanted,
    describe_cost,
    describe_rate,
    evaluate,
    learning_rate,
    tensorboard_dir,
)
from slowfast.engine.guard import NonFiniteSteps
from slowfast.engine.partial import list_digest
from slowfast.engine.saving import Pauses, Progress, Saver
from slowfast.engine.session import Session, open_session
from slowfast.engine.step import TrainStep
from slowfast.models import pretrained
from slowfast.models.build import build_model
from slowfast.models.layers import set_step_seed
from slowfast.utils import checkpoint, distributed, seeds

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
    alarms = build_alarms(cfg, session, step, loader.dataset)
    state = (model, step, bad_videos, alarms)  # what checkpoints tell of
    progress = _start(cfg, session, loader, *state)
    progress.operators = _settle(cfg, session, model, step, progress.operators)
    session.keep_config(cfg.dump())
    _log_start(cfg, session, model, loader)
    while True:
        recorder, board, val_board = _records(cfg, session, progress, len(loader), alarms)
        saver = _saver(cfg, session, loader, *state, progress, board)
        try:
            _epochs(cfg, session, loader, val_loader, *state, progress, board, val_board, saver)
            break
        except NonFiniteSteps as error:
            failure = str(error)  # all else that it knows, the loader's pass among it, goes with the handler
        finally:
            recorder.close()
        dump = alarms.tell_nonfinite(failure, progress)
        source = rollback.way_back(failure, dump, progress, session.output_dir, session.log)
        before, progress = progress, _resume(cfg, session, loader, *state, source)
        progress.operators, progress.rollbacks = before.operators, before.rollbacks + 1
    skipped = step.guard.check(progress.epoch, learning_rate(cfg, float(cfg.SOLVER.MAX_EPOCH)))
    return _result(session, progress, skipped, loader.dataset, bad_videos)


def _epochs(
    cfg,
    session: Session,
    loader,
    val_loader,
    model: nn.Module,
    step: TrainStep,
    bad_videos: BadVideos,
    alarms: Alarms,
    progress: Progress,
    board: monitor.TrainMonitor,
    val_board: monitor.EvalMonitor,
    saver: Saver,
) -> None:
    """Train and validate from where ``progress`` stands to the end."""
    rate = partial(learning_rate, cfg)
    for epoch in range(progress.epoch + 1, cfg.SOLVER.MAX_EPOCH):
        if in_vain := validation.in_vain(cfg.TRAIN.PATIENCE, cfg.TRAIN.EVAL_PERIOD, progress.epoch, progress.best):
            session.log.info("training ends before epoch %d: %s", epoch + 1, in_vain)
            break
        eval_due = _due(cfg.TRAIN.EVAL_PERIOD, epoch, cfg.SOLVER.MAX_EPOCH)
        checkpoint_due = _due(cfg.TRAIN.CHECKPOINT_PERIOD, epoch, cfg.SOLVER.MAX_EPOCH)
        keep = checkpoint_due or cfg.TRAIN.SAVE_LATEST
        if progress.steps_in_epoch < len(loader):
            waited = _train_epoch(step, loader, epoch, progress, rate, board, bad_videos, alarms, saver)
            data_wait.advise(
                session.log,
                waited,
                num_workers=cfg.DATA_LOADER.NUM_WORKERS,
                cached=bool(cfg.DATA.CACHE_SHORT_SIDE),
                num_videos=len(loader.dataset),
                crop_size=cfg.DATA.TRAIN_CROP_SIZE,
            )
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
    cfg, session: Session, progress: Progress, steps_per_epoch: int, alarms: Alarms
) -> tuple[monitor.Recorder, monitor.TrainMonitor, monitor.EvalMonitor]:
    """Where the run tells of itself: beside what the folder holds already, or in place of what came later there."""
    position = monitor.Position(progress.global_step, progress.steps_in_epoch < steps_per_epoch)
    goes_on = cfg.TRAIN.RESUME or progress.rollbacks
    recorder = session.recorder(tensorboard_dir(cfg), position if goes_on else None)
    settings = {"log_period": cfg.LOG_PERIOD, "max_epoch": cfg.SOLVER.MAX_EPOCH}
    val_board = monitor.EvalMonitor(recorder, "val", **settings)
    val_board.best = {f"min_{name}": value for name, value in evaluator.errors(progress.best).items()}
    board = monitor.TrainMonitor(recorder, steps_per_epoch=steps_per_epoch, seen=alarms.see, **settings)
    return recorder, board, val_board


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
        session.log.info("%s: %s", cfg.MODEL.MODEL_NAME, describe_cost(cfg, model))


def _train_epoch(
    step: TrainStep,
    loader,
    epoch: int,
    progress: Progress,
    rate: Callable[[float], float],
    board: monitor.TrainMonitor,
    bad_videos: BadVideos,
    alarms: Alarms,
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

    def tell() -> None:
        board.catch_up()
        bad_videos.share(reports, epoch)
        alarms.tell_spikes(progress)

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
            tell()
        if number + 1 < len(loader):  # after the last step the end of the epoch saves, and stops
            saver.pause(before=tell)
    step.guard.check(epoch, rate(epoch + 1.0))
    tell()
    return board.end_epoch()["data_wait"]


def _start(
    cfg, session: Session, loader, model: nn.Module, step: TrainStep, bad_videos: BadVideos, alarms: Alarms
) -> Progress:
    """Continue from TRAIN.RESUME, or take initial weights from TRAIN.INIT or UNIFORMER.PRETRAIN_NAME, or neither."""
    named = "" if cfg.TRAIN.CHECKPOINT_EPOCH_RESET else cfg.TRAIN.CHECKPOINT_FILE_PATH
    source = session.is_main and resuming.find(cfg.TRAIN.RESUME, named, session.output_dir)
    source = distributed.broadcast_object(source)  # one process looks, so that all agree
    if source:
        return _resume(cfg, session, loader, model, step, bad_videos, alarms, source)
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
    cfg,
    session: Session,
    loader,
    model: nn.Module,
    step: TrainStep,
    bad_videos: BadVideos,
    alarms: Alarms,
    path: str,
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
    step.recent.clear()
    alarms.load_state(saved.get("loss_spikes", {}))
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
    session.keep_threads(cfg.NUM_THREADS, saved.get("num_threads", 0))
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
        rollbacks=saved.get("rollbacks", 0),
    )


def _same_run(cfg, loader) -> resuming.SameRun:
    return resuming.SameRun(cfg.TRAIN.DATASET, list_digest(loader.dataset), videos_per_step(cfg), cfg.RNG_SEED)


def _class_names(loader) -> Sequence[str] | None:
    return getattr(loader.dataset, "class_names", None)


def _saver(
    cfg,
    session: Session,
    loader,
    model: nn.Module,
    step: TrainStep,
    bad_videos: BadVideos,
    alarms: Alarms,
    progress: Progress,
    board: monitor.TrainMonitor,
) -> Saver:
    run, names = _same_run(cfg, loader), _class_names(loader)
    return Saver(
        progress,
        board,
        partial(_payload, cfg, session, run, names, model, step, bad_videos, alarms, progress),
        output_dir=session.output_dir,
        steps_per_epoch=len(loader),
        keep=cfg.TRAIN.KEEP_CHECKPOINTS,
        pauses=Pauses(cfg.TRAIN.CHECKPOINT_SECONDS, cfg.TRAIN.CHECKPOINT_STEPS),
    )


def _payload(
    cfg,
    session: Session,
    run: resuming.SameRun,
    class_names: Sequence[str] | None,
    model: nn.Module,
    step: TrainStep,
    bad_videos: BadVideos,
    alarms: Alarms,
    progress: Progress,
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
        "loss_spikes": alarms.state(),
        "rollbacks": progress.rollbacks,
        "best": progress.best,
        "origin": progress.origin,
        "cfg": cfg.dump(),
        "operators": progress.operators,
        "num_threads": session.num_threads,
        "class_names": class_names,
        "preprocessing": preprocessing(cfg),
        "versions": session.facts,
    }


def _due(period: int, epoch: int, max_epoch: int) -> bool:
    """Every ``period`` epochs, and after the last one; never with period 0."""
    return period > 0 and ((epoch + 1) % period == 0 or epoch + 1 == max_epoch)


def _precise_bn(cfg, model: nn.Module, loader, step: TrainStep, epoch: int) -> None:
    """Batch-norm statistics anew, from augmented training batches; see engine.precise_bn."""

    def inputs() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(loader.epoch(epoch)):
            seed = seeds.derive(cfg.RNG_SEED, "precise bn", epoch, number, distributed.rank())
            set_step_seed(model, seed)
            yield step.prepare(batch.clips.to(step.device), batch.erase_boxes, batch.noise_seeds)

    precise_bn.measure(model, inputs(), min(cfg.BN.NUM_BATCHES_PRECISE, len(loader)))


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
        judged = validation.judge(
            evaluation,
            loader.dataset,
            epoch,
            ensemble=cfg.DATA.ENSEMBLE_METHOD,
            multi_label=cfg.DATA.MULTI_LABEL,
            log=session.log,
        )
        board.end(evaluator.errors(judged))
    progress.val = distributed.broadcast_object(judged)
    key = "map" if cfg.DATA.MULTI_LABEL else "top1"
    improved = progress.val[key] > progress.best.get(key, -1.0)
    if improved:
        progress.best = progress.val
    return improved
