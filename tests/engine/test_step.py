"""A training step for models with several heads: one loss, one guard, errors of the first head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.datasets.loader import Batch
from slowfast.datasets.pipeline import Views
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.step import Mixing, TrainStep
from slowfast.models import losses
from slowfast.models.uniformer_light import UniformerLight

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")
