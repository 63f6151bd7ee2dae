"""How much memory and time a training step takes, by making some in a process of their own."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass

import torch

from slowfast.config.loading import config_in
from slowfast.datasets.loader import Batch
from slowfast.engine import optimizer as optimizers
from slowfast.engine.build import build_step
from slowfast.models.build import build_model
from slowfast.utils import environment, seeds

SPARE_SHARE = 0.2  # of the memory that is free, left alone


@dataclass(frozen=True)
class Trial:
    """A step takes ``fixed_bytes`` and ``bytes_per_video``, and ``seconds_per_video``; bytes None where not known."""

    fixed_bytes: int | None
    bytes_per_video: int | None
    seconds_per_video: float

    def most_videos(self, free_bytes: int | None) -> int | None:
        """Videos of the largest step that fits, 0 if not even one does; None where memory is not known."""
        if free_bytes is None or self.fixed_bytes is None or not self.bytes_per_video:
            return None
        return max(0, int((free_bytes * (1 - SPARE_SHARE) - self.fixed_bytes) // self.bytes_per_video))


def measure(text: str) -> tuple[Trial | None, int | None]:
    """A trial of the config that is ``text``, and the bytes that were free; None if one video is too much."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        found, free = pool.apply(_measure_here, (text,))
    if found is None:
        return None, free
    (first, _), (second, seconds) = found
    if first is None or second is None:
        return Trial(None, None, seconds / 2), free
    per_video = max(1, second - first)
    return Trial(max(0, first - per_video), per_video, seconds / 2), free


def _measure_here(text: str) -> tuple[list[tuple[int | None, float]] | None, int | None]:
    """(peak bytes, seconds) of steps of one and of two videos, or None if memory is too small; free bytes."""
    cfg = config_in(text, "the recipe", ["MODEL.CLASS_WEIGHTS", "none", "MODEL.COMPILE", "False"])
    device = environment.resolve_device(min(1, cfg.NUM_GPUS))
    environment.limit_threads(cfg.NUM_THREADS, min(1, cfg.DATA_LOADER.NUM_WORKERS), 1)
    free = environment.free_memory(device, 1)
    try:
        return [_step_of(cfg, device, videos) for videos in (1, 2)], free
    except (MemoryError, torch.OutOfMemoryError):
        return None, free


def _step_of(cfg, device: torch.device, videos: int) -> tuple[int | None, float]:
    with seeds.forked_torch_stream(0, "init"):
        model = build_model(cfg)
    step = build_step(cfg, device, model.to(device).train())
    optimizers.set_lr(step.optimizer, 1e-6)
    batch = _made_up(videos * cfg.AUG.NUM_SAMPLE, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE)
    peak = environment.peak_of(lambda: step([batch], 0), device)
    start = time.perf_counter()
    float(step([batch], 1).loss)  # waits for the device
    return peak, time.perf_counter() - start


def _made_up(clips: int, frames: int, side: int) -> Batch:
    none = torch.zeros(clips, dtype=torch.int64)
    return Batch(
        clips=torch.zeros((clips, frames, side, side, 3), dtype=torch.uint8),
        labels=none,
        video_ids=none,
        view_ids=none,
        rows=torch.arange(clips),
        erase_boxes=torch.zeros((clips, 0, 4), dtype=torch.int64),
        noise_seeds=none,
        reports=(),
    )
