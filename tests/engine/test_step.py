"""A training step for models with several heads: one loss, one guard, errors of the first head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.datasets.loader import Batch
from slowfast.engine import optimizer as optimizers
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.step import Mixing, TrainStep
from slowfast.models import losses
from slowfast.models.uniformer_light import UniformerLight

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


class TwoHeads(nn.Module):
    """Two linear heads on all pixels; in evaluation the first alone, like the lightweight models."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Linear(24, 6), nn.Linear(24, 6)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)

    def forward(self, clips):
        first, second = self.first(clips.flatten(1)), self.second(clips.flatten(1))
        return (first, second) if self.training else first


def make_batch(clips=None, labels=None):
    if clips is None:
        generator = torch.Generator().manual_seed(1)
        clips = torch.randint(0, 256, (4, 2, 2, 2, 3), dtype=torch.uint8, generator=generator)
        labels = torch.arange(4)
    num_views = len(clips)
    numbers = torch.arange(num_views)
    return Batch(
        clips,
        labels,
        video_ids=numbers,
        view_ids=torch.zeros_like(numbers),
        rows=numbers,
        erase_boxes=torch.zeros(num_views, 0, 4, dtype=torch.int64),
        noise_seeds=numbers,
        reports=(),
    )


def make_step(model, prepare=None, **changes):
    groups = optimizers.param_groups(model, weight_decay=0.0, bn_weight_decay=0.0, zero_wd_1d=False)
    settings = dict(
        model=model.train(),
        optimizer=optimizers.build(groups, "sgd", lr=0.1, momentum=0.0, nesterov=False),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        loss=losses.soft_cross_entropy,
        guard=NonFiniteGuard(model, CPU, max_in_a_row=5),
        prepare=prepare or (lambda clips, boxes, seeds: as_input(clips)),
        device=CPU,
        num_classes=6,
        seed=0,
    )
    return TrainStep(**settings | changes)


def as_input(clips):
    return clips.float().div(255).permute(0, 4, 1, 2, 3)


def run(step, batch):
    return step([batch], 0)


def test_loss_is_the_mean_over_heads_and_errors_are_of_the_first():
    model, batch = TwoHeads(), make_batch()
    first, second = model(as_input(batch.clips))
    expected = [losses.cross_entropy(logits, batch.labels) for logits in (first, second)]
    slopes = torch.autograd.grad(sum(expected) / 2, list(model.parameters()))
    wrong = (first.argmax(1) != batch.labels).float().mean().item()
    assert wrong != (second.argmax(1) != batch.labels).float().mean().item()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    result = run(make_step(model), batch)
    assert result.loss.item() == pytest.approx((expected[0].item() + expected[1].item()) / 2, rel=1e-6)
    assert result.top1_err.item() == pytest.approx(100 * wrong)
    assert result.grad_norm.item() == pytest.approx(torch.stack([s.norm() for s in slopes]).norm().item())
    for parameter, start, slope in zip(model.parameters(), before, slopes, strict=True):
        torch.testing.assert_close(parameter.detach(), start - 0.1 * slope)


def test_both_heads_learn_mixed_targets():
    model = TwoHeads()
    mixing = Mixing(alpha=0.8, cutmix_alpha=1.0, probability=1.0, switch_probability=0.5, smoothing=0.1)
    result = run(make_step(model, mixing=mixing), make_batch())
    assert torch.isfinite(result.loss) and 0 <= result.top1_err.item() <= 100
    assert model.first.weight.grad.any() and model.second.weight.grad.any()


def test_a_second_head_that_is_not_finite_skips_the_step():
    model = TwoHeads()
    with torch.no_grad():
        model.second.bias[0] = torch.inf
    before = [parameter.detach().clone() for parameter in model.parameters()]
    step = make_step(model)
    run(step, make_batch())
    assert step.guard.check(0, 0.1) == 1
    for parameter, start in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter.detach(), start)


def test_the_rate_that_is_told_of_a_step_is_the_one_without_layer_decay():
    model = TwoHeads()
    heads = (model.first, model.second)
    groups = [
        {"params": list(head.parameters()), "lr_scale": scale} for head, scale in zip(heads, (0.25, 1.0), strict=True)
    ]
    step = make_step(model, optimizer=optimizers.build(groups, "sgd", lr=0.1, momentum=0.0, nesterov=False))
    optimizers.set_lr(step.optimizer, 0.2)
    run(step, make_batch())
    assert step.recent.tell([1], str)[0]["learning_rate"] == 0.2


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_the_step_of_a_light_model_has_the_reference_loss(dtype):
    with np.load(GOLDEN / "forward_tiny_light.npz") as arrays:
        golden = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta"}
    model = UniformerLight(
        5, depth=(1, 1, 3, 2), embed_dim=(16, 32, 64, 64), head_dim=16, fp32_attention=True
    )
    model.load_state_dict({name[2:]: value for name, value in golden.items() if name.startswith("w/")})
    batch = make_batch(torch.zeros(2, 8, 64, 64, 3, dtype=torch.uint8), golden["labels"])
    step = make_step(
        model,
        prepare=lambda clips, boxes, seeds: golden["input"],
        num_classes=5,
        dtype=dtype,
        scaler=torch.amp.GradScaler("cpu", init_scale=8.0, enabled=dtype is torch.float16),
    )
    result = run(step, batch)
    assert step.guard.check(0, 0.1) == 0
    exact = dtype is None
    assert result.loss.item() == pytest.approx(golden["train/loss"].item(), rel=1e-5 if exact else 5e-2)
    assert result.grad_norm.item() == pytest.approx(
        golden["grad_norm_total"].item(), rel=1e-3 if exact else 0.5
    )
    hits = (golden["train/logits"].argmax(1) == golden["labels"]).float().mean().item()
    if exact:
        assert result.top1_err.item() == pytest.approx(100 * (1 - hits))
