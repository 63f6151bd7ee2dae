"""Tiny classifiers of every kind of model that can be explained."""

import pytest
import torch

from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.pipeline import DeviceStage, EvalViews
from slowfast.datasets.video_views import VideoViews
from slowfast.inference.classifier import VideoClassifier
from slowfast.models.folding import fold
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

KINDS = ("joint", "split", "light")


def make_tiny(kind):
    """A model of 3 classes with lively weights: 2 heads of 8 channels, and 2 blocks in each attention stage."""
    sizes = {"depth": (1, 1, 2, 2), "embed_dim": (8, 8, 16, 16), "head_dim": 8}
    pruned = {"prune_ratio": [[], [], [1, 0.5], [0.5, 0.5]], "trade_off": [[], [], [1, 0.5], [0.5, 0.5]]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for biases
        model = (
            UniformerLight(3, **pruned, **sizes) if kind == "light" else Uniformer(3, split=kind == "split", **sizes)
        )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5
                )
    return model


def wrapped(model, side=64, num_frames=4, folded=True):
    """The model as `slowfast.load` gives it."""
    if folded:
        fold(model)
    model.eval().requires_grad_(False)
    return VideoClassifier(
        model=model,
        class_names=("one", "two", "three"),
        views=VideoViews(ClipSampler(num_frames, 2, 3), EvalViews(side, side, 3)),
        prepare=DeviceStage((0.45,) * 3, (0.225,) * 3),
        device=torch.device("cpu"),
        dtype=None,
        views_per_batch=4,
        ensemble_method="sum",
        facts={},
    )


@pytest.fixture(params=KINDS)
def classifier(request):
    return wrapped(make_tiny(request.param))


@pytest.fixture
def tiny():
    """A function from a kind, joint, split or light, to a model."""
    return make_tiny


@pytest.fixture
def wrap():
    """A function from a model to a classifier."""
    return wrapped


@pytest.fixture
def light():
    return wrapped(make_tiny("light"))


@pytest.fixture
def clip():
    """uint8 (4, 64, 64, 3)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=generator)
