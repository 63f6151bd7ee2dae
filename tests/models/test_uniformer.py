"""UniFormer, all variants, against the reference implementation; what S and B promise besides."""

import copy
import logging
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from slowfast.engine.compiling import compile_forward, is_compiled
from slowfast.models import ops, tuning
from slowfast.models.folding import fold
from slowfast.models.layers import DepthwiseConv, set_step_seed
from slowfast.models.uniformer import Uniformer, UniformerBase, drop_path_rates
from slowfast.models.uniformer_light import LightState, UniformerLight

GOLDEN = Path(__file__).parents[1] / "golden"
FORMS = ("joint", "split", "std", "ckpt", "light")
LAYOUTS = (torch.contiguous_format, torch.channels_last_3d)
TINY = {"num_classes": 5, "depth": (1, 1, 2, 1), "embed_dim": (16, 32, 64, 64), "head_dim": 16}


def load(form: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"forward_tiny_{form}.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta"}


def tiny(form: str, golden: dict[str, torch.Tensor]) -> UniformerBase:
    if form == "light":
        model = UniformerLight(**TINY | {"depth": (1, 1, 3, 2)}, fp32_attention=True)
    else:
        checkpoint = (1, 1, 2, 1) if form == "ckpt" else (0, 0, 0, 0)
        model = Uniformer(**TINY, split=form == "split", std=form == "std", checkpoint=checkpoint)
    model.load_state_dict(part(golden, "w/"))
    return model


def part(golden: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in golden.items() if name.startswith(prefix)}


def assert_near(value: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_evaluation_matches_the_reference(form: str, layout: torch.memory_format) -> None:
    golden = load(form)
    model = tiny(form, golden).eval()
    clips = golden["input"].contiguous(memory_format=layout)
    features = {}

    def keep(name: str):
        return lambda module, args, output: features.update({name: output})

    for stage in (1, 2, 3, 4):
        getattr(model, f"blocks{stage}")[-1].register_forward_hook(keep(f"stage{stage}"))
    model.norm.register_forward_hook(keep("norm"))
    with torch.no_grad():
        assert_near(model(clips), golden["eval/logits"])
        for stage in (1, 2, 3, 4):
            tokens, state = features[f"stage{stage}"]
            assert tokens.is_contiguous()
            if f"eval/stage{stage}_cls" in golden:
                assert isinstance(state, LightState)
                assert_near(state.class_token, golden[f"eval/stage{stage}_cls"])
            else:
                assert state is None
            assert_near(tokens.permute(0, 4, 1, 2, 3), golden[f"eval/stage{stage}"])
        assert_near(features["norm"], golden["eval/norm"])
        torch.testing.assert_close(model([clips]), model(clips), rtol=0, atol=0)
        assert_near(model(clips / 1024), golden["eval/logits_small_input"])


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS)
def test_reference_values_on_a_gpu_without_tf32(form: str) -> None:
    golden = {name: value.cuda() for name, value in load(form).items()}
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        model = tiny(form, golden).cuda()
        with torch.no_grad():
            assert_near(model.eval()(golden["input"]), golden["eval/logits"])
        training_loss(model.train(), golden["input"], golden).backward()
    assert_buffers(model, part(golden, "bn_after/"))
    assert_norms(model, golden)


def training_loss(model: UniformerBase, clips: torch.Tensor, golden: dict[str, torch.Tensor]) -> torch.Tensor:
    """The mean over heads, whose logits are compared on the way."""
    heads = model(clips)
    heads = dict(zip(("logits", "logits_cls"), heads if isinstance(heads, tuple) else (heads,), strict=False))
    assert heads.keys() == {name for name in part(golden, "train/") if name.startswith("logits")}
    for name, logits in heads.items():
        assert_near(logits, golden[f"train/{name}"])
    return sum(F.cross_entropy(logits, golden["labels"]) for logits in heads.values()) / len(heads)


def assert_norms(model: UniformerBase, golden: dict[str, torch.Tensor]) -> None:
    total = golden["grad_norm_total"].item()
    norms = {name: parameter.grad.double().norm() for name, parameter in model.named_parameters()}
    expected = part(golden, "grad_norm/")
    assert norms.keys() == expected.keys()
    for name, norm in norms.items():
        torch.testing.assert_close(norm, expected[name].double(), rtol=1e-3, atol=1e-6 * total, msg=name)
    whole = torch.stack(list(norms.values())).norm().item()
    assert whole == pytest.approx(total, rel=1e-3)


def assert_buffers(model: UniformerBase, expected: dict[str, torch.Tensor]) -> None:
    buffers = dict(model.named_buffers())
    assert expected
    for name, value in expected.items():
        torch.testing.assert_close(buffers[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_step_matches_the_reference(form: str, layout: torch.memory_format) -> None:
    golden = load(form)
    model = tiny(form, golden).train()
    loss = training_loss(model, golden["input"].contiguous(memory_format=layout), golden)
    torch.testing.assert_close(loss, golden["train/loss"], rtol=1e-5, atol=0)
    after = part(golden, "bn_after/")
    assert after.keys() == dict(model.named_buffers()).keys()
    assert_buffers(model, after)
    loss.backward()
    assert_buffers(model, after)
    assert_norms(model, golden)
    for name, gradient in (("head.weight", model.head.weight.grad), ("patch_embed1", stem_gradient(model))):
        expected = golden[f"grad/{name}"]
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


# How far bfloat16 may lie from reference values of float32, by form: evaluation logits by norm, loss, gradient norm of
# all, gradient norms of each parameter over that of all, running statistics. All ways lie within half of it; in
# light models and evaluation other tokens are kept, for their scores are almost alike.
HALF = {
    "joint": (0.09, 0.015, 0.08, 0.03, 0.06),
    "split": (0.18, 0.03, 0.18, 0.09, 0.15),
    "std": (0.09, 0.03, 0.2, 0.12, 0.08),
    "ckpt": (0.09, 0.015, 0.08, 0.03, 0.06),
    "light": (0.5, 0.03, 0.18, 0.09, 0.15),
}
SINGLE = (1e-4, 1e-5, 1e-5, 1e-5, 1e-4)
EACH_WAY_ONCE = [
    ("native", "native", "fused"),
    ("channels_last", "onednn", "chunked"),
    ("folded", "native", "explicit"),
    ("summed", "onednn", "chunked"),
]
PATHS = [("joint", *ways) for ways in product(ops.CONVOLUTION_WAYS, ops.LINEAR_WAYS, ops.ATTENTION_WAYS)]
PATHS += [(form, *ways) for form in FORMS if form != "joint" for ways in EACH_WAY_ONCE]


def force(model: UniformerBase, golden: dict[str, torch.Tensor], dtype: torch.dtype, *ways: str) -> None:
    """Let MODEL.DWCONV, LINEAR and ATTENTION be these, in training and evaluation."""
    cpu, forced = torch.device("cpu"), dict(zip(("depthwise", "linear", "attention"), ways, strict=True))
    for training in (True, False):
        found = tuning.cases(model, tuple(golden["input"].shape), dtype, cpu, training)
        plan, measured = tuning.complete({}, list(found.values()), cpu, forced)
        assert not measured
        tuning.apply(model, found, plan)


def assert_golden(model: UniformerBase, golden: dict[str, torch.Tensor], dtype: torch.dtype, bounds) -> None:
    """Logits of evaluation, plain and folded, then loss, statistics and all gradients of a training step."""
    of_logits, of_loss, of_total, of_each, of_buffers = bounds
    total, expected = golden["grad_norm_total"].item(), golden["eval/logits"]
    evaluated = [copy.deepcopy(model).eval() for _ in range(2)]
    assert fold(evaluated[1])
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        with torch.no_grad():
            found = [one(golden["input"]) for one in evaluated]
        heads = model.train()(golden["input"])
    for logits in found:
        assert (logits.float() - expected).norm() <= of_logits * expected.norm()
    heads = heads if isinstance(heads, tuple) else (heads,)
    loss = sum(F.cross_entropy(logits.float(), golden["labels"]) for logits in heads) / len(heads)
    assert loss.item() == pytest.approx(golden["train/loss"].item(), rel=of_loss)
    loss.backward()
    for name, value in part(golden, "bn_after/").items():
        assert (model.get_buffer(name) - value).double().norm() <= of_buffers * value.double().norm(), name
    norms = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    assert torch.tensor(list(norms.values())).norm().item() == pytest.approx(total, rel=of_total)
    for name, norm in part(golden, "grad_norm/").items():
        assert norms[name] == pytest.approx(norm.item(), rel=0, abs=of_each * total), name
    if dtype == torch.float32:
        for name, gradient in (("head.weight", model.head.weight.grad), ("patch_embed1", stem_gradient(model))):
            truth = golden[f"grad/{name}"]
            assert (gradient - truth).norm() <= 1e-4 * truth.norm(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("form", "depthwise", "linear", "attention"), PATHS)
def test_reference_values_hold_on_every_path(form, depthwise, linear, attention, dtype) -> None:
    golden = load(form)
    model = tiny(form, golden)
    force(model, golden, dtype, depthwise, linear, attention)
    assert_golden(model, golden, dtype, SINGLE if dtype == torch.float32 else HALF[form])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", ops.KERNEL_GRADIENT_WAYS)
def test_reference_values_hold_with_every_gradient_of_a_kernel(way: str, dtype: torch.dtype) -> None:
    """MODEL.DWCONV auto may choose any for any kernel, and the gradient of tokens another way than the forward pass."""
    golden = load("joint")
    model = tiny("joint", golden)
    for layer in model.modules():
        if isinstance(layer, DepthwiseConv):
            layer.ways = {True: ops.DepthwiseWay("summed", "folded", way), False: ops.DepthwiseWay()}
    assert_golden(model, golden, dtype, SINGLE if dtype == torch.float32 else HALF["joint"])


def stem_gradient(model: UniformerBase) -> torch.Tensor:
    proj = model.patch_embed1.proj
    return (proj[0] if isinstance(proj, torch.nn.Sequential) else proj).weight.grad


@pytest.mark.parametrize("form", FORMS)
def test_reference_values_hold_compiled(form: str) -> None:
    golden = load(form)
    evaluated, model = tiny(form, golden).eval(), tiny(form, golden)
    torch.compiler.reset()
    try:
        for one in (evaluated, model):
            compile_forward(one, logging.getLogger("test_uniformer"), "aot_eager")
        with torch.no_grad():
            assert_near(evaluated(golden["input"]), golden["eval/logits"])
        assert_golden(model, golden, torch.float32, SINGLE)
        assert is_compiled(evaluated) and is_compiled(model)
    finally:
        torch.compiler.reset()


def test_checkpointing_updates_batch_norms_once_where_the_reference_does_twice() -> None:
    golden = load("ckpt")
    once, twice = part(golden, "bn_after/"), part(golden, "bn_after_backward/")
    model = tiny("ckpt", golden).train()
    F.cross_entropy(model(golden["input"]), golden["labels"]).backward()
    name = "blocks1.0.norm1.num_batches_tracked"
    assert (twice[name] - once[name]).item() == 1  # published: recomputing counts the batch again
    for name, value in twice.items():
        ours = model.get_buffer(name)
        assert not torch.equal(ours, value)
        torch.testing.assert_close(ours, once[name], rtol=1e-4, atol=1e-5)


def test_drop_path_masks_are_equal_with_and_without_checkpointing() -> None:
    clips = torch.randn(3, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    results = []
    for checkpoint in ((0, 0, 0, 0), (1, 1, 2, 1)):
        model = Uniformer(**TINY, drop_path=0.6, dropout=0.1, head_dropout=0.2, checkpoint=checkpoint)
        model.initialise(torch.Generator().manual_seed(1))
        model.train()
        set_step_seed(model, 11)
        logits = model(clips)
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters()), *model.buffers()])
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("shape", [(1, 64, 48), (5, 33, 64), (8, 48, 33), (2, 32, 32)])
def test_any_length_and_size(shape: tuple[int, int, int], split: bool) -> None:
    model = Uniformer(**TINY, split=split, std=not split).train()
    tokens = {}
    model.blocks4[-1].register_forward_hook(lambda module, args, output: tokens.update(last=output[0]))
    logits = model(torch.randn(2, 3, *shape))
    logits.sum().backward()
    frames, height, width = shape
    assert tokens["last"].shape == (2, (frames - 1) // 2 + 1, height // 32, width // 32, 64)
    assert torch.isfinite(logits).all() and logits.shape == (2, 5)


def test_weights_are_drawn_as_published() -> None:
    model = Uniformer(400, depth=(1, 1, 1, 1))
    model.initialise(torch.Generator().manual_seed(0))
    qkv, conv = model.blocks4[0].attn.qkv, model.blocks2[0].attn
    assert qkv.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert qkv.weight.abs().max() > 0.06  # cut at +-2, not at two deviations
    assert not qkv.bias.any() and not model.head.bias.any()
    bound = 125**-0.5  # inputs of one output of a 5x5x5 depth-wise kernel
    for values in (conv.weight, conv.bias):
        assert 0.95 * bound < values.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    pointwise = model.blocks1[0].mlp.fc1.weight
    assert pointwise.abs().max() <= 0.125 and pointwise.std().item() == pytest.approx(
        0.125 / 3**0.5, rel=0.02
    )
    assert (model.norm.weight == 1).all() and not model.norm.bias.any()
    assert model.patch_embed1.norm.eps == 1e-5 and model.blocks3[0].norm1.eps == 1e-6


def test_a_split_model_starts_as_a_model_of_single_frames() -> None:
    block = Uniformer(**TINY, split=True).blocks3[0]
    tokens = torch.randn(2, 3, 2, 2, 64)
    assert not block.t_attn(tokens.reshape(-1, 3, 64)).any()
    assert (block.t_attn.proj.weight == 1).all()


def test_initialise_is_a_function_of_the_generator() -> None:
    model = Uniformer(**TINY)
    model.initialise(torch.Generator().manual_seed(3))
    first = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        model.norm.running_mean.fill_(3)
    model.initialise(torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(first, model.parameters(), strict=True))
    assert not model.norm.running_mean.any()


def test_reset_head() -> None:
    model = Uniformer(**TINY).double()
    model.reset_head(9, torch.Generator().manual_seed(0))
    assert model.head.weight.shape == (9, 64) and model.head.weight.dtype == torch.float64
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.1) and not model.head.bias.any()
    model.reset_head(0)
    assert model.eval()(torch.zeros(1, 3, 2, 32, 32).double()).shape == (1, 64)


def test_drop_path_grows_linearly_over_all_blocks() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_mlp_ratio_is_a_number_or_one_for_each_stage() -> None:
    model = Uniformer(**TINY, mlp_ratio=[1, 2, 3, 4.0])
    widths = [getattr(model, f"blocks{stage}")[0].mlp.fc1.weight.shape[0] for stage in (1, 2, 3, 4)]
    assert widths == [16, 64, 192, 256]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_dim": 24}, "head_dim 24 does not divide the attention width 64"),
        ({"depth": (1, 1, 1)}, "depth needs one number for each of 4 stages"),
        ({"mlp_ratio": [4, 4]}, "mlp_ratio needs one number"),
        ({"drop_path": 1.0}, "drop rate"),
    ],
)
def test_contradictory_numbers_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Uniformer(**TINY | change)


@pytest.mark.parametrize(
    "clips",
    [
        torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 4, 32, 32, 3),
        torch.zeros(3, 4, 32, 32),
        torch.zeros(1, 3, 4, 31, 64),
        torch.zeros(1, 3, 0, 32, 32),
    ],
)
def test_clips_that_do_not_fit_are_refused(clips: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="clips"):
        Uniformer(**TINY)(clips)


def test_the_model_survives_a_copy_and_a_state_dict_round_trip() -> None:
    model = Uniformer(**TINY, drop_path=0.5).train()
    set_step_seed(model, 1)
    clips = torch.randn(2, 3, 2, 32, 32)
    model(clips)
    twin = copy.deepcopy(model)
    assert torch.equal(twin.eval()(clips), model.eval()(clips))
