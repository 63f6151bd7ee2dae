"""Masks that follow from a seed, blocks that recompute, batch norms that count each batch once."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from slowfast.models.layers import (
    BlockOptions,
    CBlock,
    Dropout,
    DropPath,
    SABlock,
    SplitSABlock,
    recomputed,
    set_step_seed,
)

DROPPING = BlockOptions(
    head_dim=8, qkv_bias=True, qkv_scale=None, attention_dropout=0.2, mlp_ratio=2, dropout=0.2, drop_path=0.4
)
BLOCKS = (CBlock, SABlock, SplitSABlock)


def draw_tokens(batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, 4, 5, 16, generator=torch.Generator().manual_seed(0))


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    layer = DropPath(0.25).train()
    set_step_seed(layer, 7)
    ones = torch.ones(4000, 2, 3)
    dropped = layer(ones)
    values = dropped[:, 0, 0]
    assert torch.equal(dropped, values[:, None, None].expand_as(ones))
    assert set(values.tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (values == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not torch.equal(layer(ones, branch=0), layer(ones, branch=1))


def test_dropout_drops_single_values() -> None:
    layer = Dropout(0.5).train()
    set_step_seed(layer, 7)
    dropped = layer(torch.ones(100, 100))
    assert dropped.unique().tolist() == [0.0, 2.0]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), DropPath(0.5).eval(), Dropout(0.0), DropPath(0.0)])
def test_nothing_is_dropped_in_evaluation_or_at_rate_0(layer: nn.Module) -> None:
    tokens = draw_tokens()
    assert layer(tokens) is tokens


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_outside_0_to_1_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="drop rate"):
        DropPath(rate)


@pytest.mark.parametrize("block_type", BLOCKS)
def test_masks_are_a_function_of_the_step_seed(block_type: type[nn.Module]) -> None:
    block, tokens = block_type(16, DROPPING).train(), draw_tokens()
    outputs = []
    for seed in (1, 1, 2):
        set_step_seed(block, seed)
        before = torch.get_rng_state()
        outputs.append(block(tokens)[0])
        assert torch.equal(torch.get_rng_state(), before), "the global stream was used"
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_layers_of_a_model_draw_different_masks() -> None:
    layers = nn.Sequential(DropPath(0.5), DropPath(0.5)).train()
    set_step_seed(layers, 3)
    ones = torch.ones(64, 1)
    assert not torch.equal(layers[0](ones), layers[1](ones))


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("block_type", BLOCKS)
def test_recomputing_equals_keeping(block_type: type[nn.Module], seeded: bool) -> None:
    """Outputs, gradients and buffers; with a step seed, and on torch's stream where nobody set one."""
    results = []
    for run in (lambda block, tokens: block(tokens), lambda block, tokens: recomputed(block, tokens, None)):
        torch.manual_seed(0)
        block = block_type(16, DROPPING).train()
        if seeded:
            set_step_seed(block, 5)
        tokens = draw_tokens().requires_grad_()
        output, state = run(block, tokens)
        assert state is None
        output.square().sum().backward()
        gradients = [parameter.grad for parameter in block.parameters()]
        results.append([output, tokens.grad, *gradients, *block.buffers()])
    for plain, again in zip(*results, strict=True):
        assert torch.equal(plain, again)


def test_recomputing_counts_a_batch_once() -> None:
    block = CBlock(16, DROPPING).train()
    for step in (1, 2):
        recomputed(block, draw_tokens(), None)[0].sum().backward()
        assert block.norm1.num_batches_tracked.item() == step


@pytest.mark.parametrize("block_type", BLOCKS)
def test_blocks_pass_state_on_and_keep_the_layout(block_type: type[nn.Module]) -> None:
    state = object()
    tokens, passed = block_type(16, DROPPING).eval()(draw_tokens(), state)
    assert passed is state
    assert tokens.shape == (4, 3, 4, 5, 16) and tokens.is_contiguous()


def test_layer_scale_multiplies_each_branch_and_can_be_reset() -> None:
    block = CBlock(16, replace(DROPPING, layer_scale=0.5, drop_path=0.0, dropout=0.0)).eval()
    tokens = draw_tokens()

    @torch.no_grad()
    def run(first: float, second: float) -> torch.Tensor:
        block.gamma_1.fill_(first)
        block.gamma_2.fill_(second)
        return block(tokens)[0]

    base = run(0.0, 0.0)
    torch.testing.assert_close(base, tokens + block.pos_embed(tokens))
    for one in ((1.0, 0.0), (0.0, 1.0)):
        torch.testing.assert_close(run(3 * one[0], 3 * one[1]) - base, 3 * (run(*one) - base))
    block.reset_scales()
    assert block.gamma_1.shape == (1, 16, 1, 1, 1) and (block.gamma_1 == 0.5).all()


def test_attention_dropout_thins_the_weights_not_the_mean() -> None:
    options = BlockOptions(
        head_dim=8, qkv_bias=True, qkv_scale=None, attention_dropout=0.3, mlp_ratio=2, dropout=0.0
    )
    attention = SABlock(16, options).attn
    rows = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(0))
    exact = attention.eval()(rows)
    attention.train()
    total = torch.zeros_like(exact)
    for seed in range(400):
        set_step_seed(attention, seed)
        total += attention(rows)
    assert not torch.equal(attention(rows), exact)
    torch.testing.assert_close(total / 400, exact, rtol=0, atol=0.05 * exact.abs().max().item() + 0.02)
