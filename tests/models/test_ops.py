"""Operations on tokens: equal to the framework's layers in value and gradient, for every shape and precision."""

import pytest
import torch
import torch.nn.functional as F

from slowfast.models import ops
from slowfast.models.ops import self_attention

SIZES = [
    (2, 4, 6, 7, 8),
    (1, 1, 5, 5, 3),
    (2, 2, 1, 1, 4),
    (1, 7, 3, 2, 16),
    (3, 5, 9, 1, 1),
]  # B, T, H, W, C


def reference(tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    maps = tokens.permute(0, 4, 1, 2, 3).contiguous()
    maps = F.conv3d(maps, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])
    return maps.permute(0, 2, 3, 4, 1)


def draw(sizes: tuple[int, ...], kernel: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    channels = sizes[-1]
    shapes = (sizes, (channels, 1, kernel, kernel, kernel), (channels,), sizes)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("sizes", SIZES)
def test_depthwise_convolution_and_its_gradients(sizes: tuple[int, ...], kernel: int) -> None:
    *inputs, upstream = draw(sizes, kernel, torch.float32)
    exact = [value.double().requires_grad_() for value in inputs]
    expected = reference(*exact)
    expected.backward(upstream.double())
    ours = [value.requires_grad_() for value in inputs]
    output = ops.depthwise_conv3d(*ours)
    output.backward(upstream)
    assert output.is_contiguous()
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    for value, truth in zip(ours, exact, strict=True):
        torch.testing.assert_close(value.grad.double(), truth.grad, rtol=1e-4, atol=1e-4)


def test_only_the_gradients_asked_for_are_computed() -> None:
    tokens, weight, _, upstream = draw((2, 3, 4, 4, 8), 3, torch.float32)
    weight.requires_grad_()
    ops.depthwise_conv3d(tokens, weight, None).backward(upstream)
    assert tokens.grad is None and weight.grad is not None


def test_tokens_of_any_strides_and_other_dtypes() -> None:
    tokens, weight, bias, _ = draw((2, 3, 4, 5, 8), 5, torch.float64)
    strided = tokens.permute(0, 1, 3, 2, 4).contiguous().permute(0, 1, 3, 2, 4)
    assert not strided.is_contiguous()
    torch.testing.assert_close(ops.depthwise_conv3d(strided, weight, bias), reference(tokens, weight, bias))
    single = ops.depthwise_conv3d(strided.float(), weight.float(), bias.float())
    torch.testing.assert_close(single.double(), reference(tokens, weight, bias), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")
def test_a_trace_holds_the_plain_convolution() -> None:
    """Exporters and counters must find a convolution, not an opaque function."""
    tokens, weight, bias, _ = draw((1, 3, 4, 4, 8), 3, torch.float32)
    traced = torch.jit.trace(lambda value: ops.depthwise_conv3d(value, weight, bias), tokens)
    kinds = [node.kind() for node in traced.inlined_graph.nodes()]
    assert any("conv" in kind for kind in kinds) and not any("PythonOp" in kind for kind in kinds)


def test_pointwise_is_a_1x1x1_convolution() -> None:
    tokens, _, bias, _ = draw((2, 3, 4, 5, 8), 3, torch.float32)
    weight = torch.randn(6, 8, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    expected = F.conv3d(tokens.permute(0, 4, 1, 2, 3), weight, bias[:6]).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(ops.pointwise(tokens, weight, bias[:6]), expected, rtol=1e-5, atol=1e-5)


def test_attention_is_the_weighted_mean_of_the_values() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 10, 4, generator=generator) for _ in range(3))
    weights = ops.attention_weights(query, key, 0.3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 10))
    qkv = torch.stack([query, key, value]).permute(1, 3, 0, 2, 4)  # (R, N, 3, h, d)
    mixed = ops.attention(qkv, 0.3)
    torch.testing.assert_close(mixed.transpose(1, 2), weights @ value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("chunk_bytes", [2**20, 1000])
@pytest.mark.parametrize("way", ops.ATTENTION_WAYS)
def test_all_ways_of_attention_agree_in_value_and_gradient(monkeypatch, way, chunk_bytes, dtype) -> None:
    """1000 bytes: 31 x 31 weights of 4 bytes go through in chunks of 8, 8, 8 and 7 queries."""
    monkeypatch.setattr(self_attention, "CHUNK_BYTES", chunk_bytes)
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 31, 3, 2, 8), (2, 31, 2, 8)
    qkv, upstream = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    exact = qkv.double().requires_grad_()
    query, key, value = exact.permute(2, 0, 3, 1, 4).unbind(0)
    expected = (torch.softmax(query @ key.transpose(-2, -1) * 0.4, -1) @ value).transpose(1, 2)
    expected.backward(upstream.double())
    mixed = ops.attention(qkv.requires_grad_(), 0.4, way)
    mixed.backward(upstream)
    rounding = 1e-5 if dtype == torch.float32 else 2e-2
    for ours, truth in ((mixed, expected), (qkv.grad, exact.grad)):
        assert (ours.double() - truth).norm() < rounding * truth.norm()


def test_chunks_are_left_out_where_the_processor_has_no_such_product(monkeypatch) -> None:
    """As in bfloat16 on processors with AVX2 alone, where oneDNN refuses it."""
    monkeypatch.setattr(self_attention, "has_onednn", lambda dtype: False)
    monkeypatch.setattr(self_attention, "product", None)
    qkv = torch.randn(2, 31, 3, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(ops.attention(qkv, 0.4, "chunked"), ops.attention(qkv, 0.4, "fused"))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(2, 3, 4, 5, 8), (40, 24), (4, 8, 8, 8, 6), (1040, 32)])
@pytest.mark.parametrize("way", ops.LINEAR_WAYS)
def test_all_ways_of_a_linear_layer_agree_in_value_and_gradient(way: str, sizes, threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (sizes, (12, sizes[-1]), (12,))
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    exact = [value.detach().double().requires_grad_() for value in given]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        output = ops.linear(*given, way)
        output.square().sum().backward()
    finally:
        torch.set_num_threads(before)
    expected = F.linear(*exact)
    expected.square().sum().backward()
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    for value, truth in zip(given, exact, strict=True):
        # Sums of a thousand products that may all but cancel: rounding is a share of the largest, not of each.
        torch.testing.assert_close(value.grad.double(), truth.grad, rtol=0, atol=1e-6 * truth.grad.abs().max().item())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("way", ops.MLP_WAYS)
def test_an_mlp_is_linear_gelu_linear(way: str, autocast: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 10, 8), (32, 8), (32,), (8, 32), (8,))
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    exact = [value.detach().double().requires_grad_() for value in given]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = ops.mlp(*given, way)
        with torch.no_grad():
            unkept = ops.mlp(*given, way)
    output.float().square().sum().backward()
    expected = F.linear(F.gelu(F.linear(*exact[:3])), *exact[3:])
    expected.square().sum().backward()
    rounding = 2e-2 if autocast else 1e-5
    assert output.dtype == (torch.bfloat16 if autocast else torch.float32)
    for ours, truth in [
        (output, expected),
        (unkept, expected),
        *((one.grad, other.grad) for one, other in zip(given, exact, strict=True)),
    ]:
        assert (ours.double() - truth).norm() < rounding * truth.norm()


def test_an_mlp_keeps_what_follows_gelu_only_if_asked_and_computes_the_same_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((30, 8), (32, 8), (32,), (8, 32), (8,))
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    results, kept = {}, {"native": 0, "kept": 0}
    for way in kept:

        def count(value: torch.Tensor, way: str = way) -> torch.Tensor:
            kept[way] += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            output = ops.mlp(*given, way)
        results[way] = [output, *torch.autograd.grad(output.square().sum(), given)]
    assert kept["kept"] - kept["native"] == 30 * 32
    assert all(torch.equal(one, other) for one, other in zip(results["native"], results["kept"], strict=True))


FORWARDS = [(way, "channels_last", "auto") for way in ops.CONVOLUTION_WAYS]
BACKWARDS = [("channels_last", way, "auto") for way in ops.CONVOLUTION_WAYS]
KERNELS = [("channels_last", "channels_last", way) for way in ops.KERNEL_GRADIENT_WAYS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("sizes", [(2, 4, 6, 7, 8), (1, 1, 5, 5, 3)])
@pytest.mark.parametrize("way", sorted({*FORWARDS, *BACKWARDS, *KERNELS}))
def test_all_ways_of_a_depthwise_convolution_agree_in_value_and_gradient(way, sizes, kernel, dtype) -> None:
    *inputs, upstream = draw(sizes, kernel, dtype)
    exact = [value.double().requires_grad_() for value in inputs]
    expected = reference(*exact)
    expected.backward(upstream.double())
    ours = [value.requires_grad_() for value in inputs]
    output = ops.depthwise_conv3d(*ours, ops.DepthwiseWay(*way))
    output.backward(upstream)
    assert output.is_contiguous() and output.dtype == dtype
    rounding = 1e-5 if dtype == torch.float32 else 2e-2
    pairs = [(output, expected), *((one.grad, other.grad) for one, other in zip(ours, exact, strict=True))]
    for value, truth in pairs:
        assert (value.double() - truth).norm() <= rounding * truth.norm()


def test_unknown_ways_are_refused() -> None:
    inputs = draw((1, 2, 4, 4, 8), 3, torch.float32)[:3]
    with pytest.raises(ValueError, match="'quick' is no formulation of a depth-wise.*known: native, channels_last"):
        ops.depthwise_conv3d(*inputs, ops.DepthwiseWay("quick"))


@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_under_cpu_autocast_are_right_within_the_rounding_of_bfloat16(kernel: int) -> None:
    tokens, weight, bias, _ = draw((2, 4, 8, 8, 16), kernel, torch.float32)
    grads = {}
    for enabled in (False, True):
        leaves = [value.clone().requires_grad_() for value in (tokens, weight, bias)]
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = ops.depthwise_conv3d(leaves[0].bfloat16() if enabled else leaves[0], *leaves[1:])
        assert out.dtype is (torch.bfloat16 if enabled else torch.float32)
        out.float().square().sum().backward()
        grads[enabled] = [leaf.grad for leaf in leaves]
    for plain, halved in zip(*grads.values(), strict=True):
        assert (plain - halved).norm() < 0.02 * plain.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_first_attention_row_is_row_0_of_the_weights_in_float32(dtype: torch.dtype) -> None:
    query, key = (tensor.to(dtype) for tensor in torch.randn(2, 3, 2, 7, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        row = ops.first_attention_row(query, key, 0.5)
    assert row.dtype == torch.float32
    torch.testing.assert_close(row, ops.attention_weights(query.float(), key.float(), 0.5)[:, :, 0])


def test_without_autocast_holds_on_every_device() -> None:
    matrix = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with ops.without_autocast(matrix.device):
            assert (matrix @ matrix).dtype == torch.float32
        assert (matrix @ matrix).dtype == torch.bfloat16
        with ops.without_autocast(torch.device("meta")):  # has no autocast to leave
            pass
