"""The arithmetic of the network on channels-last tokens, one small function for each kind of layer.

Tokens are float tensors (B, T, H, W, C), contiguous, so the channels of one place lie next to each other.
Weights keep the shapes that `nn.Conv3d` and `nn.Linear` give them, as in published files. Blocks call these
functions and know nothing of memory layouts.

The costly ones have several exact formulations, their *ways*: which is fastest depends on shape, dtype and device
(slowfast.models.tuning measures it). All ways of one function give the same values and gradients up to rounding.
"""

from slowfast.models.ops.dense import LINEAR_WAYS, MLP_WAYS, has_onednn, linear, mlp, pointwise
from slowfast.models.ops.depthwise import (
    CONVOLUTION_WAYS,
    KERNEL_GRADIENT_WAYS,
    DepthwiseWay,
    depthwise_conv3d,
)
from slowfast.models.ops.layout import channels_first, channels_last, without_autocast
from slowfast.models.ops.masks import seeded_mask
from slowfast.models.ops.patches import batch_norm, patch_conv3d
from slowfast.models.ops.self_attention import (
    ATTENTION_WAYS,
    attention,
    attention_weights,
    first_attention_row,
)

__all__ = [
    "ATTENTION_WAYS",
    "CONVOLUTION_WAYS",
    "KERNEL_GRADIENT_WAYS",
    "LINEAR_WAYS",
    "MLP_WAYS",
    "DepthwiseWay",
    "attention",
    "attention_weights",
    "batch_norm",
    "channels_first",
    "channels_last",
    "depthwise_conv3d",
    "first_attention_row",
    "has_onednn",
    "linear",
    "mlp",
    "patch_conv3d",
    "pointwise",
    "seeded_mask",
    "without_autocast",
]
