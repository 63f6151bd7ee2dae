"""From the config to what a training step is made of; besides the two stories only this module reads it here."""

from __future__ import annotations

from logging import Logger

import torch
from torch import nn

from slowfast.datasets.build import build_device_stage, class_counts, videos_per_step, views_per_batch
from slowfast.engine import evaluator, memory, operators, precision, schedule
from slowfast.engine import optimizer as optimizers
from slowfast.engine.compiling import compile_forward
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.session import Session
from slowfast.engine.step import Mixing, StillBackground, TrainStep
from slowfast.models import complexity, losses, tuning
from slowfast.models.build import build_model
from slowfast.utils import distributed


def learning_rate(cfg, epoch: float) -> float:
    """The rate at a fractional epoch, with all three rates of the recipe times ``_rate_factor``."""
    solver, scale = cfg.SOLVER, _rate_factor(cfg)
    return schedule.learning_rate(
        epoch,
        policy=solver.LR_POLICY,
        base=solver.BASE_LR * scale,
        end=solver.COSINE_END_LR * scale,
        warmup_start=solver.WARMUP_START_LR * scale,
        warmup_epochs=solver.WARMUP_EPOCHS,
        max_epoch=solver.MAX_EPOCH,
        cosine_after_warmup=solver.COSINE_AFTER_WARMUP,
        steps=solver.STEPS,
        lrs=solver.LRS,
    )


def _rate_factor(cfg) -> float:
    """Videos of a step over those that the rates are written for; shards count in the first, so never twice.

    Without SCALE_LR or a REFERENCE_BATCH it is the published rule: NUM_SHARDS with BASE_LR_SCALE_NUM_SHARDS, else 1.
    """
    solver = cfg.SOLVER
    if solver.SCALE_LR and solver.REFERENCE_BATCH:
        return videos_per_step(cfg) / solver.REFERENCE_BATCH
    return cfg.NUM_SHARDS if solver.BASE_LR_SCALE_NUM_SHARDS else 1


def describe_rate(cfg) -> str:
    """The highest rate and its batch, such as "4e-4 @ 128 -> 2.5e-5 @ 8": as written in the recipe -> as used here."""
    solver = cfg.SOLVER
    used = f"{_short(solver.BASE_LR * _rate_factor(cfg))} @ {videos_per_step(cfg)}"
    if not solver.REFERENCE_BATCH:
        return used
    return f"{_short(solver.BASE_LR)} @ {solver.REFERENCE_BATCH} -> {used}"


def _short(rate: float) -> str:
    mantissa, exponent = f"{rate:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def build_step(cfg, device: torch.device, model: nn.Module, dataset=None) -> TrainStep:
    """The training step of a model on its device, with optimizer, loss scaler and guard of its own.

    The model may be replicated over processes or not; weights and states may be loaded into all parts afterwards.
    ``dataset``, of training, is asked for its labels where MODEL.CLASS_WEIGHTS is balanced.
    """
    dtype = precision.resolve(cfg.TRAIN.MIXED_PRECISION, device)
    bare = distributed.unwrap(model)
    mixing = None
    if cfg.MIXUP.ENABLE:
        mixing = Mixing(
            alpha=cfg.MIXUP.ALPHA,
            cutmix_alpha=cfg.MIXUP.CUTMIX_ALPHA,
            probability=cfg.MIXUP.PROB,
            switch_probability=cfg.MIXUP.SWITCH_PROB,
            smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
        )
    background = None
    if cfg.AUG.ENABLE and cfg.AUG.BACKGROUND_PROB:
        background = StillBackground(cfg.AUG.BACKGROUND_PROB, cfg.AUG.BACKGROUND_SHARE)
    return TrainStep(
        model=model,
        optimizer=_optimizer(cfg, bare),
        scaler=torch.amp.GradScaler(device.type, enabled=dtype is torch.float16),
        loss=_loss(cfg, dataset),
        guard=NonFiniteGuard(bare, device, cfg.SOLVER.MAX_NONFINITE_STEPS),
        prepare=build_device_stage(cfg),
        device=device,
        num_classes=cfg.MODEL.NUM_CLASSES,
        seed=cfg.RNG_SEED,
        dtype=dtype,
        mixing=mixing,
        background=background,
        max_grad_norm=cfg.SOLVER.CLIP_GRADIENT,
        max_grad_value=cfg.SOLVER.CLIP_GRAD_VAL,
    )


def _loss(cfg, dataset) -> losses.Loss:
    weights = None
    if cfg.MODEL.CLASS_WEIGHTS == "balanced":
        weights = losses.balanced_weights(torch.from_numpy(class_counts(cfg, dataset)))
    return losses.get_loss(cfg.MODEL.LOSS_FUNC, weights)


def choose_operators(cfg, session: Session, model: nn.Module, saved: tuning.Plan, *modes: str) -> tuning.Plan:
    """Set the ways of the model's operators for `modes`, train and eval, and return them; see engine.operators."""
    device = session.device
    precisions = {"train": cfg.TRAIN.MIXED_PRECISION, "eval": cfg.TEST.MIXED_PRECISION}
    passes = [
        operators.Pass(
            _clips(cfg, mode),
            precision.resolve(precisions[mode], device) or torch.float32,
            training=mode == "train",
        )
        for mode in modes
    ]
    forced = {"depthwise": cfg.MODEL.DWCONV, "linear": cfg.MODEL.LINEAR, "attention": cfg.MODEL.ATTENTION}
    machine = {"torch": session.facts["versions"]["torch"], **session.facts["hardware"]}
    return operators.choose(model, passes, device, session.log, saved=saved, forced=forced, machine=machine)


def choose_recomputation(cfg, session: Session, step: TrainStep) -> None:
    """With MODEL.CHECKPOINT auto set which blocks are recomputed, once the operators are; see engine.memory."""
    if cfg.MODEL.CHECKPOINT == "auto":
        wanted = cfg.MODEL.CHECKPOINT_GB
        memory.choose(
            step.model, step.optimizer, _clips(cfg, "train"), step.dtype, session.device, session.log, wanted
        )


def compile_if_wanted(cfg, model: nn.Module, log: Logger) -> None:
    """Let the model compute through torch.compile with MODEL.COMPILE; see engine.compiling."""
    if cfg.MODEL.COMPILE:
        compile_forward(model, log)


def _clips(cfg, mode: str) -> tuple[int, ...]:
    """Shape (B, C, T, H, W) of the clips that go through the model of one process at once."""
    if mode == "train":
        clips = cfg.TRAIN.BATCH_SIZE // max(1, cfg.NUM_GPUS) * cfg.AUG.NUM_SAMPLE
        side = cfg.DATA.TRAIN_CROP_SIZE
    else:
        clips, side = views_per_batch(cfg), cfg.DATA.TEST_CROP_SIZE
    return clips, cfg.DATA.INPUT_CHANNEL_NUM[0], cfg.DATA.NUM_FRAMES, side, side


def _optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    solver = cfg.SOLVER
    groups = optimizers.param_groups(
        model,
        weight_decay=solver.WEIGHT_DECAY,
        bn_weight_decay=cfg.BN.WEIGHT_DECAY,
        zero_wd_1d=solver.ZERO_WD_1D_PARAM,
        skip_names=solver.NO_WEIGHT_DECAY_NAMES,
        layer_decay=solver.LAYER_DECAY,
    )
    return optimizers.build(
        groups,
        method=solver.OPTIMIZING_METHOD,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        dampening=solver.DAMPENING,
        nesterov=solver.NESTEROV,
        betas=tuple(solver.BETAS),
    )


def view_cost(cfg) -> dict[str, int]:
    """Parameters and multiply-accumulates of one test view, {"parameters": ..., "macs": ...}; no weights are made."""
    with torch.device("meta"):
        model = build_model(cfg)
    side = cfg.DATA.TEST_CROP_SIZE
    return complexity.count(model, (1, cfg.DATA.INPUT_CHANNEL_NUM[0], cfg.DATA.NUM_FRAMES, side, side))


def evaluate(
    cfg, device: torch.device, model: nn.Module, loader, progress, sink: evaluator.RecordSink | None = None
) -> evaluator.Evaluation | None:
    """Score all views of a validation or test loader in TEST.MIXED_PRECISION; None on ranks other than 0.

    ``sink`` takes the records; without one they are kept in memory.
    """
    sink = sink or evaluator.RecordSink(cfg.MODEL.NUM_CLASSES)
    evaluator.run(
        model,
        loader,
        build_device_stage(cfg),
        sink,
        device=device,
        views_per_batch=views_per_batch(cfg),
        dtype=precision.resolve(cfg.TEST.MIXED_PRECISION, device),
        progress=progress,
    )
    return sink.gather()


def tensorboard_dir(cfg) -> str | None:
    """The folder for TensorBoard below OUTPUT_DIR, named as in PySlowFast; None if it is switched off."""
    return (cfg.TENSORBOARD.LOG_DIR or f"runs-{cfg.TRAIN.DATASET}") if cfg.TENSORBOARD.ENABLE else None
