"""From what is known of data, start and device to the keys of a recipe, each with its reason. Arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from slowfast.finetuning.facts import DataFacts, sided
from slowfast.utils.plural import counted

MOST_PIXELS_ON_A_CPU = 128  # side of a crop; time grows with its square
WANTED_STEPS = {True: 600, False: 720}  # with weights to start from, and without
EPOCHS = {True: (10, 60), False: (20, 150)}  # least and most
WANTED_VIDEOS = 16  # of a step
STEPS_AN_EPOCH = 6  # at least, where there are as many videos
ENOUGH_TO_JUDGE = 30  # videos of a validation; of fewer a hit or two decide, and a training from scratch begins slowly
IMBALANCE = 3  # times the rarest class that the most frequent one may have
FILLS_A_CLIP = 10.0  # seconds up to which one action is taken to fill a video
LAYER_DECAY = 0.75
RATES = (1e-4, 1e-3)  # lowest and highest for weights that are trained already
DATASETS = {
    (False, True): "kinetics", (False, False): "kinetics_sparse", (True, True): "hmdb51", (True, False): "ssv2"
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """What training starts from: the settings that the recipe has so far, and whether weights come with it.

    layered: whether the model tells how deep a parameter lies, for rates that fall by layer.
    """

    name: str
    trained: bool
    base_lr: float
    crop_size: int
    num_frames: int
    sampling_rate: int
    dense: bool
    random_flip: bool
    layered: bool = True


@dataclass(frozen=True)
class Choice:
    """Keys of a config, and lines that say why."""

    keys: dict[str, object]
    reasons: tuple[str, ...]


def choose_clips(data: DataFacts, start: Start, on_gpu: bool) -> Choice:
    """Size of the crops, and which frames a clip has."""
    size = start.crop_size if on_gpu else min(start.crop_size, MOST_PIXELS_ON_A_CPU)
    size = max(32, min(size, data.short_side // 16 * 16))
    why = (
        []
        if size == start.crop_size
        else ["smaller for the CPU" if size < data.short_side // 16 * 16 else "of videos"]
    )
    dense = start.dense
    span = start.num_frames * start.sampling_rate
    if start.trained and dense and data.num_frames < span // 2:
        dense, how = (
            False,
            f"one from each part, since videos have some {data.num_frames} frames, a clip spans {span}",
        )
    elif not start.trained:
        dense = data.seconds is not None and data.seconds > FILLS_A_CLIP
        how = "consecutive" if dense else "one from each part of a video, for one action fills it"
    else:
        how = "as the weights were trained"
    keys: dict[str, object] = {
        "DATA.TRAIN_CROP_SIZE": size,
        "DATA.TEST_CROP_SIZE": size,
        "DATA.TEST_SCALE": 0,
        "TRAIN.DATASET": DATASETS[data.frame_folders, dense],
        "TEST.DATASET": DATASETS[data.frame_folders, dense],
    }
    lines = [
        f"clips: {start.num_frames} frames, {how}; {size} x {size} pixels{' (' + why[0] + ')' if why else ''}"
    ]
    if start.random_flip and sided(data.class_names):
        keys["DATA.RANDOM_FLIP"] = False
        lines.append(f"no mirroring: classes such as {sided(data.class_names)[0]!r} tell left from right")
    return Choice(keys, tuple(lines))


def choose_solver(data: DataFacts, start: Start, freeze: Sequence[str]) -> Choice:
    """Rates, what is trained, and classes of unlike size."""
    keys: dict[str, object] = {
        "MODEL.NUM_CLASSES": len(data.class_names),
        "MODEL.FREEZE": list(freeze),
        "SOLVER.SCALE_LR": False,
        "SOLVER.REFERENCE_BATCH": 0,
    }
    lines = []
    if start.trained:
        rate = min(max(start.base_lr / 2, RATES[0]), RATES[1])
        keys |= {
            "SOLVER.BASE_LR": rate,
            "SOLVER.WARMUP_START_LR": rate / 100,
            "SOLVER.COSINE_END_LR": rate / 100,
            "SOLVER.LAYER_DECAY": LAYER_DECAY if start.layered else 1.0,
        }
        what = f"all but {' '.join(freeze)}" if freeze else "all layers"
        falling = f" that falls by {LAYER_DECAY:g} a layer" if start.layered else ""
        lines.append(f"model: that of {start.name}, {what} trained, at a rate of {rate:g}{falling}")
    else:
        lines.append(f"model: {start.name}, from scratch")
    rarest = min(count for count in data.counts if count) if any(data.counts) else 0
    if max(data.counts) > IMBALANCE * rarest:
        keys["DATA.SAMPLER"] = "balanced"
        lines.append(
            f"classes have {rarest} to {max(data.counts)} videos: each gets the same share (DATA.SAMPLER balanced)"
        )
    return Choice(keys, tuple(lines))


def wanted_batch(num_videos: int) -> int:
    """Videos of a step, before memory has its say."""
    return max(1, min(WANTED_VIDEOS, num_videos // STEPS_AN_EPOCH))


def choose_steps(
    num_videos: int, num_validated: int, batch: int, passes: int, trained: bool, epochs: int | None
) -> Choice:
    """Epochs for a step of ``batch`` x ``passes`` videos, and after how many validations in vain to stop.

    Where they are of few videos, or there are none, training goes to its end and the last state is the model.
    """
    steps = max(1, num_videos // (batch * passes))
    least, most = EPOCHS[trained]
    chosen = epochs or min(most, max(least, math.ceil(WANTED_STEPS[trained] / steps)))
    judged = num_validated >= ENOUGH_TO_JUDGE
    patience = max(5, chosen // 4) if judged else 0
    keys: dict[str, object] = {
        "TRAIN.BATCH_SIZE": batch,
        "TRAIN.ACCUMULATION_STEPS": passes,
        "SOLVER.MAX_EPOCH": chosen,
        "SOLVER.WARMUP_EPOCHS": float(min(chosen / 10, 5)),
        "TRAIN.EVAL_PERIOD": int(num_validated > 0),
        "TRAIN.CHECKPOINT_PERIOD": chosen,
        "TRAIN.PATIENCE": patience,
        "TEST.TEST_BEST": judged,
    }
    videos = counted(batch, "video")
    how = videos if passes == 1 else f"{passes} times {videos}"
    ending = f"fewer if {patience} validations bring nothing better" if judged else "none of them validated"
    if num_validated and not judged:
        ending = f"all of them: {counted(num_validated, 'video')} to validate on would end training by chance"
    return Choice(keys, (f"steps: {how} each, {steps} an epoch, {counted(chosen, 'epoch')}, {ending}",))
