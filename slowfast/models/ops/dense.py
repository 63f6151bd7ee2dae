"""Linear layers over the last dimension, and the MLP of two of them.

Ways: `native` is the framework's layer. `onednn`, on a CPU in float32, calls oneDNN's matrix product where the
framework calls that of its BLAS library; with MKL on processors that are not Intel's the difference is a factor of
two. In half precision both call oneDNN, and on other devices there is `native` alone. `kept`, of the MLP alone, is
`native` that keeps for backward what `native` computes again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from slowfast.models.ops.layout import compute_dtype, is_exported, is_traced

LINEAR_WAYS = ("native", "onednn")
MLP_WAYS = (*LINEAR_WAYS, "kept")
_IMAGES = 16
_LONG = 1024  # rows


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None, way: str = "native") -> Tensor:
    """rows (..., C_in) times weight (C_out, C_in) transposed, plus bias."""
    if not _takes_onednn(rows, way):
        return F.linear(rows, weight, bias)
    return _OneDnnLinear.apply(rows, weight, bias)


def pointwise(tokens: Tensor, weight: Tensor, bias: Tensor | None, way: str = "native") -> Tensor:
    """1x1x1 convolution with weight (C_out, C_in, 1, 1, 1), as a matrix product over the channels."""
    return linear(tokens, weight.flatten(1), bias, way)


def mlp(
    rows: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    way: str = "native",
) -> Tensor:
    """Linear, GELU, linear: rows (..., C_in) through weight1 (C_mid, C_in) and weight2 (C_out, C_mid).

    Backward is left the values before GELU alone and computes those after it again, which are the largest of a
    block; but for the way `kept`, which takes their memory in exchange for the time.
    """
    if is_exported():
        return F.linear(F.gelu(F.linear(rows, weight1, bias1)), weight2, bias2)
    if way != "kept":
        way = "onednn" if _takes_onednn(rows, way) else "native"
    if torch.is_grad_enabled():
        return _Mlp.apply(rows, weight1, bias1, weight2, bias2, way)
    return _forward(_activated(rows, weight1, bias1, way), weight2, bias2, way)


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """oneDNN's rows @ weight.T + bias on a CPU, weight (C_out, C_in); see `has_onednn` for the dtypes.

    Rows and columns may be exchanged in memory; with gaps between them oneDNN falls back to a very slow loop.
    """
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def has_onednn(dtype: torch.dtype) -> bool:
    """Whether `product` works here: a build of the framework with oneDNN's linear layer, float32 or bfloat16.

    In bfloat16 oneDNN has it for processors with AVX-512 and the like alone; the framework's own layer works on all.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _takes_onednn(rows: Tensor, way: str) -> bool:
    return (
        way == "onednn"
        and rows.device.type == "cpu"
        and compute_dtype(rows) == torch.float32 == rows.dtype
        and not is_traced()
    )


def _forward(rows: Tensor, weight: Tensor, bias: Tensor | None, way: str) -> Tensor:
    return product(rows, weight, bias) if way == "onednn" else F.linear(rows, weight, bias)


def _activated(rows: Tensor, weight: Tensor, bias: Tensor | None, way: str) -> Tensor:
    """GELU of the layer's output, without keeping what comes before it."""
    if way == "onednn":
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "gelu", [], "none")
    return F.gelu(F.linear(rows, weight, bias))


def _gradient_of_rows(grad: Tensor, weight: Tensor, way: str) -> Tensor:
    return product(grad, weight.t()) if way == "onednn" else grad @ weight


def _gradient_of_weight(grad: Tensor, rows: Tensor, way: str) -> Tensor:
    """(C_out, C_in) from grad (..., C_out) and rows (..., C_in)."""
    if way != "onednn":
        return grad.flatten(0, -2).t() @ rows.flatten(0, -2)
    grad, rows = grad.flatten(0, -2), rows.flatten(0, -2)
    if len(rows) >= _LONG and len(rows) % _IMAGES == 0:
        return _as_convolution(grad, rows)
    if grad.shape[1] > rows.shape[1]:
        return product(rows.t(), grad.t()).t()
    return product(grad.t(), rows.t())


def _as_convolution(grad: Tensor, rows: Tensor) -> Tensor:
    """The same as the kernel gradient of a 1x1 convolution, for which oneDNN has a better kernel if rows are many.

    With one thread the framework takes oneDNN for 1x1 convolutions of 16 images or more only.
    """
    images, grads = (
        values.reshape(_IMAGES, -1, 1, values.shape[1]).permute(0, 3, 1, 2) for values in (rows, grad)
    )
    return conv2d_weight(images, (grad.shape[1], rows.shape[1], 1, 1), grads).flatten(1)


def _gradient_of_bias(grad: Tensor) -> Tensor:
    return grad.flatten(0, -2).sum(0)


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _gradient_of_rows(grad, weight, "onednn") if wanted[0] else None,
            _gradient_of_weight(grad, rows, "onednn") if wanted[1] else None,
            _gradient_of_bias(grad) if wanted[2] else None,
        )


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight1: Tensor,
        bias1: Tensor | None,
        weight2: Tensor,
        bias2: Tensor | None,
        way: str,
    ) -> Tensor:
        dtype = compute_dtype(rows)
        ctx.input_dtype, ctx.way = rows.dtype, way
        rows = rows.to(dtype)
        before = _forward(rows, weight1, bias1, way)
        activated = F.gelu(before)
        ctx.save_for_backward(rows, before, activated if way == "kept" else None, weight1, weight2)
        return _forward(activated, weight2, bias2, way)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, before, activated, weight1, weight2 = ctx.saved_tensors
        wanted, way = ctx.needs_input_grad, ctx.way
        weights = weight1.to(before.dtype), weight2.to(before.dtype)
        weight2_grad = bias2_grad = None
        if wanted[3]:
            activated = F.gelu(before) if activated is None else activated
            weight2_grad = _gradient_of_weight(grad, activated, way).to(weight2.dtype)
        if wanted[4]:
            bias2_grad = _gradient_of_bias(grad).to(weight2.dtype)
        hidden_grad = _gradient_of_rows(grad, weights[1], way)
        hidden_grad = torch.ops.aten.gelu_backward(hidden_grad, before)
        return (
            _gradient_of_rows(hidden_grad, weights[0], way).to(ctx.input_dtype) if wanted[0] else None,
            _gradient_of_weight(hidden_grad, rows, way).to(weight1.dtype) if wanted[1] else None,
            _gradient_of_bias(hidden_grad).to(weight1.dtype) if wanted[2] else None,
            weight2_grad,
            bias2_grad,
            None,
        )
