"""Time ways to compute a depth-wise 3D convolution on a CPU, forward and backward, side by side.

python benchmarks/dwconv.py [--threads 1] [--rounds 5]

Every formulation starts from and ends in channels-last tokens (B, T, H, W, C): copies are part of its time. A
cell is the fastest round, forward + backward in milliseconds; the formulations take turns in every round.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from slowfast.models import ops

SHAPES = (  # B, T, H, W, C, kernel size: a small model at 56x56, then UniFormer-S at 8 frames of 224x224
    (32, 4, 14, 14, 16, 3),
    (32, 4, 14, 14, 16, 5),
    (32, 4, 7, 7, 32, 3),
    (32, 4, 7, 7, 32, 5),
    (32, 4, 3, 3, 64, 3),
    (2, 4, 56, 56, 64, 3),
    (2, 4, 56, 56, 64, 5),
    (2, 4, 28, 28, 128, 3),
    (2, 4, 28, 28, 128, 5),
    (2, 4, 14, 14, 320, 3),
    (2, 4, 7, 7, 512, 3),
)


def plain(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The framework's layer on maps in its default memory order."""
    maps = ops.channels_first(tokens).contiguous()
    maps = F.conv3d(maps, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])
    return ops.channels_last(maps).contiguous()


def channels_last(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The framework's layer on maps in channels-last memory order."""
    maps = ops.channels_first(tokens)
    maps = F.conv3d(maps, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])
    return ops.channels_last(maps).contiguous()


def folded(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One grouped 2D convolution: a group is a channel, its members are the frames; banded weights."""
    batch, frames, height, width, channels = tokens.shape
    kernel = weight.shape[-1]
    frame = torch.arange(frames)
    tap = (
        frame[None, :] - frame[:, None] + kernel // 2 + frames
    )  # [frame out, frame in], shifted by the padding
    band = F.pad(weight[:, 0], (0, 0, 0, 0, frames, frames))[:, tap]
    maps = ops.channels_first(tokens).reshape(batch, channels * frames, height, width)
    maps = F.conv2d(
        maps,
        band.reshape(channels * frames, frames, kernel, kernel),
        bias.repeat_interleave(frames),
        padding=kernel // 2,
        groups=channels,
    )
    return ops.channels_last(maps.view(batch, channels, frames, height, width)).contiguous()


def summed(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A sum over the taps in time of depth-wise 2D convolutions."""
    batch, frames, height, width, channels = tokens.shape
    reach = weight.shape[2] // 2
    padded = F.pad(tokens, (0, 0, 0, 0, 0, 0, reach, reach))
    total = bias
    for tap in range(weight.shape[2]):
        images = padded[:, tap : tap + frames].flatten(0, 1).permute(0, 3, 1, 2)
        images = F.conv2d(images, weight[:, :, tap], padding=weight.shape[-1] // 2, groups=channels)
        total = total + images.permute(0, 2, 3, 1).view(batch, frames, height, width, channels)
    return total


FORMULATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "plain": plain,
    "channels_last": channels_last,
    "folded": folded,
    "summed": summed,
    "ours": ops.depthwise_conv3d,
}


def measure(shape: tuple[int, ...], rounds: int) -> dict[str, tuple[float, float]]:
    """Fastest (forward, backward) of each formulation in milliseconds; checks that all agree."""
    *sizes, kernel = shape
    tokens = torch.randn(*sizes, requires_grad=True)
    weight = (torch.randn(sizes[-1], 1, kernel, kernel, kernel) / kernel**1.5).requires_grad_()
    bias = torch.randn(sizes[-1], requires_grad=True)
    upstream = torch.randn(*sizes)
    best: dict[str, tuple[float, float]] = {}
    expected: tuple[Tensor, ...] = ()
    for _ in range(rounds):
        for name, formulation in FORMULATIONS.items():
            start = time.perf_counter()
            output = formulation(tokens, weight, bias)
            middle = time.perf_counter()
            gradients = torch.autograd.grad(output, (tokens, weight, bias), upstream)
            end = time.perf_counter()
            forward, backward = best.get(name, (float("inf"), float("inf")))
            best[name] = (min(forward, 1e3 * (middle - start)), min(backward, 1e3 * (end - middle)))
            expected = expected or (output.detach(), *gradients)
            for value, reference in zip((output.detach(), *gradients), expected, strict=True):
                torch.testing.assert_close(value, reference, rtol=0, atol=1e-5 * reference.abs().max().item())
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), ms forward + backward")
    print(f"{'B,T,H,W,C,kernel':<22}" + "".join(f"{name:>16}" for name in FORMULATIONS))
    for shape in SHAPES:
        cells = measure(shape, arguments.rounds).values()
        print(f"{','.join(map(str, shape)):<22}" + "".join(f"{f:>8.1f} +{b:>6.1f}" for f, b in cells))


if __name__ == "__main__":
    main()
