"""A step that is not finite changes nothing, to the bit, and is counted; many in a row end the run."""

import copy

import pytest
import torch
from torch import nn

from slowfast.engine import optimizer as optimizers
from slowfast.engine.guard import NonFiniteGuard


def make(method="adamw"):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 3, 2, 2, 2))
    model[1].reset_running_stats()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
    groups = optimizers.param_groups(model, weight_decay=0.1, bn_weight_decay=0.0, zero_wd_1d=False)
    return model, optimizers.build(groups, method, lr=0.1)


def take_step(model, optimizer, guard, *, scale=1.0, seed=0):
    clips = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(seed)) * scale
    guard.before_forward()
    optimizer.zero_grad()
    loss = guard.poison(model(clips).square().mean())
    loss.backward()
    guard.step(optimizer, optimizers.clip(model.parameters(), 1.0))
    return loss


def snapshot(model, optimizer):
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))


def assert_equal(one, other):
    assert one[0].keys() == other[0].keys() and one[1].keys() == other[1].keys()
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name
    for index, state in one[1].items():
        for name, value in state.items():
            assert torch.equal(value, other[1][index][name]), (index, name)


@pytest.mark.parametrize("method", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_leaves_weights_state_and_buffers_bit_unchanged(method, bad):
    model, optimizer = make(method)
    guard = NonFiniteGuard(model, torch.device("cpu"), max_in_a_row=5)
    take_step(model, optimizer, guard)
    before = snapshot(model, optimizer)
    take_step(model, optimizer, guard, scale=bad)
    assert_equal(snapshot(model, optimizer), before)
    assert guard.check(0, 0.1) == 1


@pytest.mark.parametrize("method", ["adamw", "sgd"])
def test_a_run_with_a_bad_step_equals_a_run_without_it(method):
    runs = []
    for scales in ((1.0, 1.0), (float("nan"), 1.0, float("nan"), 1.0)):
        model, optimizer = make(method)
        guard = NonFiniteGuard(model, torch.device("cpu"), max_in_a_row=5)
        good = 0
        for scale in scales:
            take_step(model, optimizer, guard, scale=scale, seed=good)
            good += scale == 1.0
        runs.append(snapshot(model, optimizer))
    assert_equal(*runs)


def test_a_finite_loss_is_not_touched_and_a_bad_one_poisons_every_gradient():
    model, _ = make()
    loss = model(torch.ones(2, 3, 2, 2, 2)).square().mean()
    assert torch.equal(NonFiniteGuard.poison(loss), loss)
    NonFiniteGuard.poison(loss + torch.inf).backward()
    assert all(parameter.grad.isnan().all() for parameter in model.parameters())


def test_too_many_in_a_row_end_the_run_with_a_report():
    model, optimizer = make()
    guard = NonFiniteGuard(model, torch.device("cpu"), max_in_a_row=3)
    nan = float("nan")
    for scale in (nan, nan, 1.0, nan, nan):
        take_step(model, optimizer, guard, scale=scale)
    assert guard.check(4, 2e-3) == 4  # never three in a row
    take_step(model, optimizer, guard, scale=nan)
    take_step(model, optimizer, guard, scale=1.0)  # the third in a row happened between two readings
    with pytest.raises(FloatingPointError, match=r"3 steps in a row.*epoch 5.*0\.002.*5 steps skipped"):
        guard.check(4, 2e-3)


def test_counts_go_on_from_a_state():
    model, optimizer = make()
    nan, guards = float("nan"), [NonFiniteGuard(model, torch.device("cpu"), max_in_a_row=3) for _ in range(2)]
    for scale in (nan, 1.0, nan, nan):
        take_step(model, optimizer, guards[0], scale=scale)
    assert guards[0].state() == [3, 2, 2]
    guards[1].load_state(guards[0].state())
    assert guards[1].check(0, 0.1) == 3
    take_step(model, optimizer, guards[1], scale=nan)
    with pytest.raises(FloatingPointError, match="3 steps in a row.*4 steps skipped"):
        guards[1].check(0, 0.1)


def test_buffers_replaced_since_then_are_restored_too():
    """As fvcore's precise BN does, which puts new tensors in place of the running statistics."""
    model, optimizer = make()
    guard = NonFiniteGuard(model, torch.device("cpu"), max_in_a_row=5)
    model[1].running_mean = model[1].running_mean.clone() + 1
    before = snapshot(model, optimizer)
    take_step(model, optimizer, guard, scale=float("nan"))
    assert_equal((snapshot(model, optimizer)[0], {}), (before[0], {}))
