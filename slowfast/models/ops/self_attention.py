"""Self-attention among the rows of a clip.

Ways: `fused` is the framework's scaled_dot_product_attention; `explicit` the whole matrix of weights, kept for
backward; `chunked`, on a CPU, takes one head and some queries at a time through oneDNN's matrix product,
so that their weights stay in the cache, and computes them again in backward; without that product it is `fused`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from slowfast.models.ops.dense import has_onednn, product
from slowfast.models.ops.layout import compute_dtype, is_traced

ATTENTION_WAYS = ("fused", "explicit", "chunked")
CHUNK_BYTES = 2**22  # of the weights in work at once


def attention(qkv: Tensor, scale: float, way: str = "fused") -> Tensor:
    """softmax(scale query key^T) value: qkv (R, N, 3, h, d) to (R, N, h, d), contiguous; queries first in it."""
    if way == "chunked" and _takes_chunks(qkv):
        return _ChunkedAttention.apply(qkv, scale)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (R, h, N, d)
    if way == "explicit":
        mixed = attention_weights(query, key, scale) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return mixed.transpose(1, 2)


def attention_weights(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """softmax(scale query key^T), (R, h, N, N), of (R, h, N, d): for those who need the weights themselves."""
    return torch.softmax(query @ key.transpose(-2, -1) * scale, dim=-1)


def first_attention_row(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """The weights of the first query, (R, h, N), in float32 whatever the inputs are: row 0 of those above.

    Products and sums instead of a matrix product: for one row that costs no more, autocast leaves it in float32,
    and counted costs stay those of the published code, which takes the row from the whole matrix.
    """
    logits = (query[:, :, :1].float() * key.float()).sum(dim=-1) * scale
    return torch.softmax(logits, dim=-1)


def _takes_chunks(qkv: Tensor) -> bool:
    fits = qkv.device.type == "cpu" and compute_dtype(qkv) == qkv.dtype and has_onednn(qkv.dtype)
    return fits and not is_traced()


def _chunks(num_tokens: int) -> Iterator[slice]:
    """Parts of the queries, of nearly equal size."""
    number = max(1, -(-4 * num_tokens * num_tokens // CHUNK_BYTES))
    size = -(-num_tokens // number)
    return (slice(start, start + size) for start in range(0, num_tokens, size))


class _ChunkedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, scale: float) -> Tensor:
        rows, num_tokens, _, heads, width = qkv.shape
        mixed = qkv.new_empty(rows, num_tokens, heads, width)
        for row in range(rows):
            for head in range(heads):
                query, key, value = _one_head(qkv, row, head, scale)
                value = value.t()
                for chunk in _chunks(num_tokens):
                    weights = _softmax(product(query[chunk], key))
                    mixed[row, chunk, head] = product(weights, value)
        ctx.save_for_backward(qkv, mixed)
        ctx.scale = scale
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        qkv, mixed = ctx.saved_tensors
        rows, num_tokens, _, heads, _ = qkv.shape
        qkv_grad = torch.empty_like(qkv)
        # What softmax takes from the gradient of each row.
        common = (grad * mixed).sum(dim=-1, keepdim=True, dtype=torch.float32).to(grad.dtype)
        for row in range(rows):
            for head in range(heads):
                query, key, value = _one_head(qkv, row, head, ctx.scale)
                upstream, key_columns = grad[row, :, head].contiguous(), key.t()
                key_grad = value_grad = 0.0  # transposed, (d, N)
                for chunk in _chunks(num_tokens):
                    weights = _softmax(product(query[chunk], key))
                    value_grad = product(upstream[chunk].t(), weights.t()).add_(value_grad)
                    logits_grad = product(upstream[chunk], value)
                    logits_grad = logits_grad.sub_(common[row, chunk, head]).mul_(weights)
                    qkv_grad[row, chunk, 0, head] = product(logits_grad, key_columns).mul_(ctx.scale)
                    key_grad = product(query[chunk].t(), logits_grad.t()).add_(key_grad)
                qkv_grad[row, :, 1, head] = key_grad.t()
                qkv_grad[row, :, 2, head] = value_grad.t()
        return qkv_grad, None


def _softmax(logits: Tensor) -> Tensor:
    """Over the last dimension, in float32 and back."""
    return torch.softmax(logits, dim=-1, dtype=torch.float32).to(logits.dtype)


def _one_head(qkv: Tensor, row: int, head: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Query times `scale`, key and value, each (N, d) contiguous."""
    query, key, value = qkv[row, :, :, head].unbind(1)
    return query * scale, key.contiguous(), value.contiguous()
