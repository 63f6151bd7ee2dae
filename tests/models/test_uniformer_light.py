"""What UniFormer XXS and XS promise besides the reference values, which test_uniformer.py compares."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from slowfast.models import ops
from slowfast.models.layers import BlockOptions, set_step_seed
from slowfast.models.uniformer_light import EvoSABlock, LightState, UniformerLight

TINY = {"num_classes": 5, "depth": (1, 1, 2, 2), "embed_dim": (8, 8, 16, 16), "head_dim": 8}
OPTIONS = BlockOptions(
    head_dim=4, qkv_bias=True, qkv_scale=None, attention_dropout=0.0, mlp_ratio=2, dropout=0.0
)
GRID = (2, 3, 3)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clips(frames: int = 4, size: int = 64, batch: int = 2) -> Tensor:
    return draw(batch, 3, frames, size, size)


def make_block(keep_ratio: float, layer_scale: float | None = None) -> EvoSABlock:
    """A block in which every term counts: weights and factors are not those of a start."""
    block = EvoSABlock(8, replace(OPTIONS, layer_scale=layer_scale), keep_ratio, trade_off=0.3, fp32=True)
    with torch.no_grad():
        for index, parameter in enumerate(block.parameters()):
            parameter.copy_(0.5 * draw(*parameter.shape, seed=index))
    return block.eval()


def start_state(batch: int = 2, channels: int = 8) -> LightState:
    score = draw(batch, 18, seed=8).softmax(dim=1)
    return LightState(draw(batch, 1, channels, seed=9), score)


def attention_as_defined(block: EvoSABlock, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Output (M, C) of one sample, and the class token's weights (M,), with all weights written out."""
    query, key, value = block.attn.qkv(rows).view(len(rows), 3, 2, 4).permute(1, 2, 0, 3)
    weights = torch.softmax(query @ key.transpose(1, 2) / 2, dim=-1)
    return block.attn.proj((weights @ value).transpose(0, 1).flatten(1)), weights[:, 0].mean(0)


def pruned_as_defined(block: EvoSABlock, tokens: Tensor, state: LightState) -> tuple[Tensor, Tensor, Tensor]:
    """The pruning block, sample by sample and token by token: tokens (B, N, C), class tokens, scores."""
    gammas = [1.0 if gamma is None else gamma for gamma in (block.gamma_1, block.gamma_2)]
    results = []
    for grid, class_token, score in zip(tokens + block.pos_embed(tokens), *state, strict=True):
        tokens_in = grid.reshape(-1, grid.shape[-1])
        order = sorted(range(len(tokens_in)), key=lambda index: -score[index].item())
        kept, dropped = order[: len(order) // 2], order[len(order) // 2 :]
        representative = sum(score[i] * tokens_in[i] for i in dropped) / sum(score[i] for i in dropped)
        rows = torch.cat([class_token, tokens_in[kept], representative[None]])
        attended, seen = attention_as_defined(block, block.norm1(rows))
        attended = gammas[0] * attended
        expanded = gammas[1] * block.mlp(block.norm2(rows + attended))
        rows = rows + attended + expanded
        out, new_score = tokens_in.clone(), score.clone()
        out[dropped] = tokens_in[dropped] + attended[-1] + expanded[-1]
        out[kept] = rows[1:-1]
        new_score[kept] = 0.7 * score[kept] + 0.3 * seen[1:-1]
        results.append((out, rows[:1], new_score))
    return tuple(torch.stack(values) for values in zip(*results, strict=True))


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@torch.no_grad()
def test_a_pruning_block_does_what_is_defined(layer_scale: float | None) -> None:
    block, tokens, state = make_block(0.5, layer_scale), draw(2, *GRID, 8), start_state()
    given = state.score.clone()
    out, after = block(tokens, state)
    expected, class_token, score = pruned_as_defined(block, tokens, state)
    torch.testing.assert_close(out.flatten(1, 3), expected)
    torch.testing.assert_close(after.class_token, class_token)
    torch.testing.assert_close(after.score, score)
    assert torch.equal(state.score, given), "scores are values: what a block was given stays as it was"


@torch.no_grad()
def test_a_block_that_keeps_all_is_plain_attention_and_blends_the_scores() -> None:
    block, tokens, state = make_block(1), draw(2, *GRID, 8), start_state()
    out, after = block(tokens, state)
    _, first = block(tokens, LightState(state.class_token, None))
    embedded = (tokens + block.pos_embed(tokens)).flatten(1, 3)
    for sample in range(2):
        rows = torch.cat([state.class_token[sample], embedded[sample]])
        attended, seen = attention_as_defined(block, block.norm1(rows))
        rows = rows + attended
        rows = rows + block.mlp(block.norm2(rows))
        torch.testing.assert_close(out[sample].reshape(-1, 8), rows[1:])
        torch.testing.assert_close(after.class_token[sample], rows[:1])
        torch.testing.assert_close(first.score[sample], seen[1:])
        torch.testing.assert_close(after.score[sample], 0.7 * state.score[sample] + 0.3 * seen[1:])


@torch.no_grad()
def test_tokens_keep_their_places_in_half_precision_beyond_what_it_can_count() -> None:
    """Published code carries places as features, exact up to 256 in bfloat16: 32 frames of 192 pixels have 2304."""
    block = make_block(0.5)
    for layer in (block.pos_embed, block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    block.bfloat16()
    tokens = draw(1, 16, 12, 12, 8).bfloat16()
    state = LightState(draw(1, 1, 8).bfloat16(), draw(1, 2304).softmax(1))
    out, after = block(tokens, state)
    assert torch.equal(out, tokens) and after.score.dtype == torch.float32


@torch.no_grad()
def test_equal_scores_keep_the_first_tokens() -> None:
    block, tokens, state = make_block(0.5), draw(2, *GRID, 8), start_state()
    _, after = block(tokens, state._replace(score=torch.full((2, 18), 1 / 18)))
    changed = after.score != 1 / 18
    assert changed[:, :9].all() and not changed[:, 9:].any()


@pytest.mark.parametrize("fp32", [True, False])
def test_attention_is_in_float32_under_autocast_where_the_name_says_so(monkeypatch, fp32: bool) -> None:
    seen = []
    attention, first_row = ops.attention, ops.first_attention_row

    def spy(*inputs):
        seen.append({inputs[0].dtype} | {torch.is_autocast_enabled("cpu")})
        return attention(*inputs)

    def spy_row(*inputs):
        row = first_row(*inputs)
        assert row.dtype == torch.float32  # the score, in all variants
        return row

    monkeypatch.setattr(ops, "attention", spy)
    monkeypatch.setattr(ops, "first_attention_row", spy_row)
    model = UniformerLight(**TINY, fp32_attention=fp32).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sum(logits.float().square().sum() for logits in model(clips())).backward()
    assert seen == 4 * [{torch.float32, False} if fp32 else {torch.bfloat16, True}]
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_recomputing_equals_keeping(precision: torch.dtype | None) -> None:
    results = []
    for checkpoint in ((0, 0, 0, 0), (1, 1, 2, 2)):
        model = UniformerLight(**TINY, drop_path=0.4, dropout=0.1, layer_scale=0.5, checkpoint=checkpoint)
        model.initialise(torch.Generator().manual_seed(1))
        set_step_seed(model.train(), 11)
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            logits = model(clips())
        sum(head.float().square().sum() for head in logits).backward()
        results.append([*logits, *(parameter.grad for parameter in model.parameters()), *model.buffers()])
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)


def test_two_models_at_once_do_not_disturb_each_other() -> None:
    """Published code keeps the scores in globals, so the second model here would prune by those of the first."""
    one, other = (UniformerLight(**TINY).eval() for _ in range(2))
    with torch.no_grad():
        alone = other(clips(size=96))

        def in_between(module: nn.Module, args: tuple, output: tuple) -> None:
            one(clips())

        other.blocks3[0].register_forward_hook(in_between)
        assert torch.equal(other(clips(size=96)), alone)


def test_scores_of_stage_4_are_means_of_2x2_with_the_same_sum() -> None:
    model = UniformerLight(**TINY).eval()
    states = {}
    model.blocks3[-1].register_forward_hook(lambda module, args, output: states.update(last=output[1]))
    model.blocks4[0].register_forward_pre_hook(lambda module, args: states.update(first=args[1]))
    with torch.no_grad():
        model(clips(frames=3, size=80))
    score = states["last"].score.view(2, 2, 5, 5)
    means = score[:, :, :4, :4].reshape(2, 2, 2, 2, 2, 2).mean(dim=(3, 5)).flatten(1)
    expected = means * score.sum(dim=(1, 2, 3))[:, None] / means.sum(dim=1, keepdim=True)
    torch.testing.assert_close(states["first"].score, expected)
    torch.testing.assert_close(states["first"].score.sum(1), states["last"].score.sum(1))
    class_token = model.cls_upsample(states["last"].class_token)
    torch.testing.assert_close(states["first"].class_token, class_token)


def test_keep_ratio_1_is_allowed_in_any_block() -> None:
    """In the published code it would leave the scores at the size of stage 3."""
    rules = [[], [], [1, 1], [1, 0.25]]
    model = UniformerLight(**TINY, prune_ratio=rules).train()
    loss = sum(logits.square().sum() for logits in model(clips()))
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_two_heads_in_training_and_one_result_in_evaluation() -> None:
    model = UniformerLight(**TINY).train()
    first, second = model(clips())
    assert first.shape == second.shape == (2, 5) and not torch.equal(first, second)
    model.eval()
    alone = model([clips()])
    assert alone.shape == (2, 5)
    model.average_heads = True
    both = model(clips())
    with torch.no_grad():
        nn.init.zeros_(model.head_cls.weight)
        nn.init.constant_(model.head_cls.bias, 3.0)
    torch.testing.assert_close(model(clips()), (alone + 3) / 2)
    assert not torch.equal(both, alone)


@pytest.mark.parametrize("shape", [(1, 64, 48), (5, 33, 64), (8, 48, 35), (2, 32, 32)])
def test_any_length_and_size(shape: tuple[int, int, int]) -> None:
    model = UniformerLight(**TINY, std=True).train()
    tokens = {}
    model.blocks4[-1].register_forward_hook(lambda module, args, output: tokens.update(last=output[0]))
    logits = model(torch.randn(2, 3, *shape))
    sum(head.sum() for head in logits).backward()
    frames, height, width = shape
    sizes = [-(-size // 4) // 8 for size in (height, width)]  # the stem rounds up, the rest down
    assert tokens["last"].shape == (2, (frames + 1) // 2, *sizes, 16)
    assert all(torch.isfinite(head).all() and head.shape == (2, 5) for head in logits)


def test_initialise_sets_everything_and_is_a_function_of_the_generator() -> None:
    model = UniformerLight(**TINY, layer_scale=0.2)
    model.initialise(torch.Generator().manual_seed(3))
    first = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for value in model.state_dict().values():
            value.fill_(3)
    model.initialise(torch.Generator().manual_seed(3))
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name]), name
    assert not model.cls_token.any()
    for block in (model.blocks1[0], model.blocks4[1]):
        assert (block.gamma_1 == 0.2).all() and (block.gamma_2 == 0.2).all()


def test_reset_head_replaces_both() -> None:
    model = UniformerLight(**TINY).double()
    model.reset_head(9, torch.Generator().manual_seed(0))
    for head in (model.head, model.head_cls):
        assert head.weight.shape == (9, 16) and head.weight.dtype == torch.float64 and not head.bias.any()
    assert not torch.equal(model.head.weight, model.head_cls.weight)
    model.reset_head(0)
    features = model(clips().double())
    assert [feature.shape for feature in features] == [(2, 16), (2, 16)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prune_ratio": [[], [], [1, 0.5], [0.5]]},
            r"prune_ratio needs .*\[0, 0, 2, 2\].*got .*\[0, 0, 2, 1\]",
        ),
        ({"prune_ratio": [[], [], [1, 0.5], [0.5] * 3]}, r"got lists of \[0, 0, 2, 3\]"),
        ({"trade_off": [[1], [], [1, 0.5], [0.5, 0.5]]}, r"trade_off needs .*got lists of \[1, 0, 2, 2\]"),
        ({"trade_off": [[1, 0.5], [0.5, 0.5]]}, "trade_off needs a list for each of 4 stages"),
        ({"prune_ratio": [[], [], [0.5, 0.5], [0.5, 0.5]]}, "first keep ratio of stage 3 must be 1"),
        ({"prune_ratio": [[], [], [1, 0], [0.5, 0.5]]}, "above 0, to 1"),
        ({"prune_ratio": [[], [], [1, 1.5], [0.5, 0.5]]}, "above 0, to 1"),
        ({"trade_off": [[], [], [1, 0.5], [0.5, -1]]}, "trade_off must be from 0 to 1"),
        ({"head_dim": 12}, "head_dim 12 does not divide the attention width 16"),
        ({"depth": (1, 1, 1)}, "depth needs one number for each of 4 stages"),
    ],
)
def test_contradictory_numbers_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniformerLight(**TINY | change)


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="clips"):
        UniformerLight(**TINY)(torch.zeros(1, 3, 4, 31, 64))
