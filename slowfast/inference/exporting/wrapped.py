"""The module that is exported: a model for inference, with its preprocessing before it and softmax after, if wanted."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slowfast.inference.classifier import VideoClassifier
from slowfast.models.folding import fold
from slowfast.models.layers import Tunable

EXAMPLE_CLIPS = 2  # of the example that is traced: exporters take 0 and 1 for constants


class Deployed(nn.Module):
    """Clips -> logits, or probabilities with ``softmax``: float32 (N, K).

    Clips are float32 (N, 3, T, S, S) as the model takes them, or with ``normalise``, a `Normalise`, uint8
    (N, T, S, S, 3), RGB, 0..255.
    """

    def __init__(self, model: nn.Module, normalise: nn.Module | None, softmax: bool) -> None:
        super().__init__()
        self.model = model
        self.normalise = normalise
        self.softmax = softmax

    def forward(self, clips: Tensor) -> Tensor:
        logits = self.model(clips if self.normalise is None else self.normalise(clips))
        return logits.softmax(dim=-1) if self.softmax else logits


class Normalise(nn.Module):
    """uint8 (N, T, S, S, 3), RGB -> float32 (N, 3, T, S, S): what datasets.pipeline.DeviceStage does, out of place."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], reverse_channels: bool) -> None:
        super().__init__()
        mean, std = torch.tensor(tuple(mean)), torch.tensor(tuple(std))
        self.register_buffer("factor", 1 / (255 * std))
        self.register_buffer("shift", mean / std)
        self.reverse_channels = reverse_channels

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.to(torch.float32) * self.factor - self.shift
        if self.reverse_channels:
            frames = frames.flip(-1)
        return frames.permute(0, 4, 1, 2, 3)


def deployed(classifier: VideoClassifier, *, with_preprocessing: bool, softmax: bool) -> Deployed:
    """A copy of a classifier's model on the CPU in float32, all batch norms folded, in the plainest formulation."""
    model = copy.deepcopy(classifier.model).cpu().float()
    fold(model)
    for layer in model.modules():
        if isinstance(layer, Tunable):
            layer.__dict__.pop("ways", None)  # back to those of its class
    stage = classifier.prepare
    normalise = Normalise(stage.mean, stage.std, stage.reverse_channels) if with_preprocessing else None
    return Deployed(model, normalise, softmax).eval().requires_grad_(False)


def traced(module: Deployed, clips: Tensor, batch: int) -> torch.export.ExportedProgram:
    """The graph of a module for any number of clips, or for ``batch`` of them if that is not 0.

    clips: (1 or more, ...) as the module takes them; their size T, S, S is that of the graph.
    """
    count = batch or EXAMPLE_CLIPS
    example = clips[:1].expand(count, *clips.shape[1:]).contiguous()
    shapes = None if batch else {"clips": {0: torch.export.Dim("batch")}}
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
