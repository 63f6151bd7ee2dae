"""Maps of a class are what calculus says, in whatever state the model was loaded."""

import pytest
import torch

from slowfast.inference.explaining.blocks import blocks_of
from slowfast.inference.explaining.class_maps import ClassMap, grad_cam, tokens_and_logits, weighted_sum
from slowfast.inference.explaining.grids import TokenGrid
from slowfast.models import ops
from slowfast.models.layers import Attention, DepthwiseConv, Linear, Mlp, PointwiseConv
from slowfast.models.uniformer import Uniformer


def test_channels_count_by_their_mean_gradient():
    tokens = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])  # (1, 1, 2, C=2)
    gradients = torch.tensor([[[[1.0, 0.0], [3.0, -1.0]]]])  # means 2 and -0.5
    assert weighted_sum(tokens, gradients).tolist() == [[[1.0, 3.5]]]


def test_the_map_of_the_last_block_is_the_share_of_each_token_in_the_logit(tiny, wrap):
    """After it come a norm, the mean over tokens and a linear layer: all linear in evaluation."""
    model = tiny("joint").eval()
    torch.nn.init.constant_(model.norm.weight, 1.5)
    torch.nn.init.constant_(model.norm.running_var, 4.0 - model.norm.eps)
    torch.nn.init.constant_(model.norm.running_mean, 0.5)
    torch.nn.init.zeros_(model.norm.bias)
    plain = wrap(model, folded=False)
    clip = torch.randint(
        0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    weight, bias = model.head.weight[2].clone(), model.head.bias[2].clone()
    with torch.no_grad():
        tokens, logits = tokens_and_logits(model, model.blocks4[1], plain.model_input(clip[None]))
    expected = tokens[0] @ weight * 1.5 / 2.0 / tokens[0][..., 0].numel()
    found = grad_cam(plain, clip, 2, "blocks4.1")
    torch.testing.assert_close(found.values, expected.detach(), rtol=1e-4, atol=1e-6)
    shift = weight.sum() * 1.5 / 2.0 * 0.5
    assert float(found.values.sum() - shift + bias) == pytest.approx(float(logits[0, 2]), rel=1e-4)
    folded = grad_cam(wrap(model), clip, 2, "blocks4.1")
    torch.testing.assert_close(folded.values, found.values, rtol=1e-4, atol=1e-6)


def test_a_probe_for_a_bright_square_peaks_on_it(wrap):
    """Blocks that add nothing, and a head that measures likeness to the token of the square."""
    model = Uniformer(2, depth=(1, 1, 1, 1), embed_dim=(8, 8, 16, 16), head_dim=8)
    with torch.no_grad():
        for block in blocks_of(model).values():
            last = block.conv2 if hasattr(block, "conv2") else block.attn.proj
            for layer in (block.pos_embed, last, block.mlp.fc2):
                layer.weight.zero_(), layer.bias.zero_()
        clip = torch.full((4, 96, 96, 3), 40, dtype=torch.uint8)
        clip[2:, 32:64, 64:96] = torch.tensor([250, 250, 90], dtype=torch.uint8)
        classifier = wrap(model)
        tokens, _ = tokens_and_logits(model, model.blocks4[0], classifier.model_input(clip[None]))
        model.head.weight[1] = tokens[0, 1, 1, 2] - tokens[0, 0, 0, 0]
    found = grad_cam(classifier, clip, 1, "blocks4.0")
    assert found.peak == (1, 1, 2)
    assert found.grid.box(*found.peak[1:]) == (64, 32, 96, 64) and found.grid.frame(found.peak[0]) == 2


@pytest.mark.parametrize("name", ["blocks1.0", "blocks2.0", "blocks3.0", "blocks3.1", "blocks4.0"])
def test_gradients_are_those_of_the_whole_model_with_weights_that_learn(classifier, clip, name):
    model = classifier.model
    values = grad_cam(classifier, clip, 1, name).values
    kept = []
    hook = blocks_of(model)[name].register_forward_hook(lambda _, __, output: kept.append(output[0]))
    model.requires_grad_(True)
    logits = model(classifier.model_input(clip[None]))
    hook.remove()
    (gradients,) = torch.autograd.grad(logits[0, 1], kept[0])
    expected = (kept[0] * gradients.mean(dim=(1, 2, 3), keepdim=True)).sum(-1)[0]
    torch.testing.assert_close(values, expected.detach(), rtol=1e-4, atol=1e-6)


def test_a_step_along_the_gradient_raises_the_logit_as_it_says(classifier, clip):
    """Finite differences: adding one direction to all tokens changes the logit by its product with their gradients.

    In float64, but for the scores of light models, which are float32 always.
    """
    model, name = classifier.model.double(), "blocks3.0"
    block = blocks_of(model)[name]
    clips = classifier.model_input(clip[None]).double()
    tokens, logits = tokens_and_logits(model, block, clips)
    (gradients,) = torch.autograd.grad(logits[0, 0], tokens)
    direction = torch.randn(16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = []
    for step in (-1e-3, 1e-3):
        hook = block.register_forward_hook(
            lambda _, __, output, step=step: (output[0] + step * direction, output[1])
        )
        ends.append(float(model(clips)[0, 0]))
        hook.remove()
    assert (ends[1] - ends[0]) / 2e-3 == pytest.approx(float((gradients @ direction).sum()), rel=1e-3)


def test_every_way_of_the_operators_gives_the_same_map(classifier, clip):
    expected = grad_cam(classifier, clip, 0, "blocks1.0").values
    for forward in ops.CONVOLUTION_WAYS:
        for linear, attention in zip(("native", "onednn", "onednn"), ops.ATTENTION_WAYS, strict=True):
            for module in classifier.model.modules():
                if isinstance(module, DepthwiseConv):
                    module.ways = {False: ops.DepthwiseWay(forward, forward)}
                elif isinstance(module, Linear | PointwiseConv | Mlp):
                    module.ways = {False: linear}
                elif isinstance(module, Attention):
                    module.ways = {False: attention}
            found = grad_cam(classifier, clip, 0, "blocks1.0").values
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_it_works_where_no_gradients_are_kept_and_leaves_nothing_behind(classifier, clip):
    expected = grad_cam(classifier, clip)
    for surroundings in (torch.no_grad, torch.inference_mode):
        with surroundings():
            found = grad_cam(classifier, clip.clone())
        assert torch.equal(found.values, expected.values)
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in classifier.model.parameters()
    )
    assert not any(block._forward_hooks for block in blocks_of(classifier.model).values())


def test_the_predicted_class_is_explained_unless_another_is_asked_for(classifier, clip):
    found = grad_cam(classifier, clip)
    assert found.class_number == int(classifier.logits(clip[None])[0].argmax())
    torch.testing.assert_close(found.logits, classifier.logits(clip[None])[0], rtol=1e-4, atol=1e-5)
    other = (found.class_number + 1) % 3
    assert not torch.equal(grad_cam(classifier, clip, other).values, found.values)
    with pytest.raises(ValueError, match="class 3 is none of 0 to 2"):
        grad_cam(classifier, clip, 3)
    with pytest.raises(ValueError, match="no block 'head'"):
        grad_cam(classifier, clip, block="head")


def test_heat_is_what_speaks_for_the_class_up_to_one():
    def of(values):
        return ClassMap(torch.tensor([[values]]), TokenGrid((1, 1, 3), 4), "blocks1.0", 0, torch.zeros(2))

    assert of([-1.0, 2.0, 4.0]).heat.tolist() == [[[0.0, 0.5, 1.0]]] and of([-1.0, 2.0, 4.0]).peak == (
        0,
        0,
        2,
    )
    assert of([-3.0, -2.0, -4.0]).heat.tolist() == [[[0.0, 0.0, 0.0]]] and of([-3.0, -2.0, -4.0]).peak == (
        0,
        0,
        1,
    )
