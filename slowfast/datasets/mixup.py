"""Mixing a training batch with itself: MixUp (Zhang et al. 2018), CutMix (Yun et al. 2019) and still backgrounds.

`draw_mix` draws once for a batch; `apply_mix` and `mix_targets` compute. The first clip is paired with the
last, the second with the one before it and so on, as in the published UniFormer and PySlowFast code. Two
augmented copies of one video are therefore mixed with each other when they straddle the middle of the batch,
and the middle clip of an odd batch, or a batch of one, is mixed with itself, that is, unchanged.

A still background (`draw_background`, `apply_background`) changes pixels alone: the label stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slowfast.datasets.transforms import Box


@dataclass(frozen=True)
class Mix:
    """How to mix a batch; Mix() leaves it as it is."""

    lam: float = 1.0
    """Share of each clip's own label, 0 to 1."""
    box: Box | None = None
    """CutMix: (top, left, height, width) to take from the partner. None: MixUp, lam times the clip itself."""


def draw_mix(
    rng: np.random.Generator,
    *,
    alpha: float,
    cutmix_alpha: float,
    prob: float,
    switch_prob: float,
    height: int,
    width: int,
) -> Mix:
    """How to mix one batch of clips of height x width pixels.

    With probability prob the batch is mixed: by CutMix with probability switch_prob and by MixUp otherwise,
    or by the only one whose alpha is positive. The share is Beta(alpha, alpha) with the alpha of the kind;
    CutMix cuts its box to the frame and corrects the share to the area that is left. Raises ValueError if
    both alphas are 0 and prob is not.
    """
    if prob > 0 and alpha <= 0 and cutmix_alpha <= 0:
        raise ValueError(
            f"mixing with probability {prob} needs MIXUP.ALPHA or MIXUP.CUTMIX_ALPHA above 0 (given: "
            f"{alpha} and {cutmix_alpha}); write MIXUP.PROB 0 for label smoothing alone"
        )
    if not rng.random() < prob:
        return Mix()
    if alpha > 0 and cutmix_alpha > 0:
        use_cutmix = bool(rng.random() < switch_prob)
    else:
        use_cutmix = cutmix_alpha > 0
    if not use_cutmix:
        return Mix(float(rng.beta(alpha, alpha)))
    box = draw_cutmix_box(float(rng.beta(cutmix_alpha, cutmix_alpha)), height, width, rng)
    return Mix(1.0 - box[2] * box[3] / (height * width), box)


def draw_cutmix_box(lam: float, height: int, width: int, rng: np.random.Generator) -> Box:
    """A box of 1 - lam of the frame's area around a uniform random pixel, cut where it leaves the frame."""
    side = math.sqrt(1.0 - lam)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(rng.integers(0, height)), int(rng.integers(0, width))
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    return top, left, bottom - top, right - left


def apply_mix(clips: Tensor, mix: Mix) -> Tensor:
    """Floating point clips (N, C, T, H, W) mixed with their reverse, a new tensor in the same memory order.

    Any shape (N, ..., H, W) is taken. A mix that changes nothing returns the clips themselves.
    """
    if mix.lam == 1:
        return clips
    if mix.box is None:
        return clips.flip(0).mul_(1.0 - mix.lam).add_(clips, alpha=mix.lam)
    top, left, height, width = mix.box
    inside = (..., slice(top, top + height), slice(left, left + width))
    mixed = clips.clone()
    mixed[inside] = clips[inside].flip(0)
    return mixed


def mix_targets(labels: Tensor, num_classes: int, lam: float, smoothing: float) -> Tensor:
    """Soft labels float32 (N, num_classes) of a mixed batch, each row summing to 1, from class numbers (N,).

    Each label is 1 - smoothing for its class plus smoothing spread over all classes; the row is lam times
    that of the clip plus 1 - lam times that of its partner. Raises ValueError for labels of another shape
    (several classes a clip).
    """
    if labels.ndim != 1:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} cannot be mixed: one class number a clip is needed; "
            "write MIXUP.ENABLE False with DATA.MULTI_LABEL True"
        )
    hot = functional.one_hot(labels, num_classes).float()
    mixed = torch.lerp(hot.flip(0), hot, lam)
    return mixed * (1.0 - smoothing) + smoothing / num_classes


@dataclass(frozen=True)
class Background:
    """What is blended into each clip of a batch: frame `frames[n]` of clip `partners[n]`, with share `shares[n]`."""

    partners: np.ndarray
    frames: np.ndarray
    shares: np.ndarray


def draw_background(
    rng: np.random.Generator, *, num_clips: int, num_frames: int, prob: float, max_share: float
) -> Background:
    """For each clip, with probability prob, a share uniform in 0..max_share of one frame of any clip of the batch.

    Arrays: partners and frames int64 (num_clips,), shares float32 (num_clips,), 0 for the clips left alone.
    Source: Wang et al., "Removing the Background by Adding the Background" (2021), with a frame of another clip
    in place of one of the same.
    """
    shares = rng.uniform(0.0, max_share, num_clips) * (rng.random(num_clips) < prob)
    return Background(
        partners=rng.integers(num_clips, size=num_clips),
        frames=rng.integers(num_frames, size=num_clips),
        shares=shares.astype(np.float32),
    )


def apply_background(clips: Tensor, background: Background) -> Tensor:
    """Floating point clips (N, C, T, H, W) with the still frames blended in, in the same memory order."""
    partners, frames, shares = (
        torch.from_numpy(values).to(clips.device, non_blocking=True)
        for values in (background.partners, background.frames, background.shares)
    )
    stills = clips[partners, :, frames]  # (N, C, H, W)
    return torch.lerp(clips, stills.unsqueeze(2), shares.to(clips.dtype).view(-1, 1, 1, 1, 1))
