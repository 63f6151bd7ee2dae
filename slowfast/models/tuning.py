"""Which formulation (way) the costly layers of a model use, by shape, dtype, device and mode.

A plan maps a case, such as "depthwise 2x8x56x56x64 k5x5x5 float32 cpu-2 train", to the way chosen for it, such as
"channels_last/channels_last/band". It holds plain strings, so that it fits into a checkpoint and into results:
whoever uses the same plan computes the same bits. Cases that a plan does not hold are measured in a short trial.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.models import ops
from slowfast.models.layers import Attention, DepthwiseConv, Linear, Mlp, PointwiseConv
from slowfast.models.ops.depthwise import kernel_gradient, takes_triton, tokens_gradient

Plan = dict[str, str]
KINDS: dict[type[nn.Module], str] = {
    DepthwiseConv: "depthwise",
    PointwiseConv: "linear",
    Linear: "linear",
    Mlp: "mlp",
    Attention: "attention",
}
AUTO = "auto"
ROUNDS = 5
MOST_ROUNDS, ENOUGH_SECONDS = 20, 0.2  # for ways so quick that single times say little
HOPELESS = 3.0  # a way this many times slower than the best in its first round is not measured again
WORTH = 0.95  # a way must take less than this share of the default's time to replace it
LEAST_WORTH_SAVING = 2**19  # values of an MLP, a megabyte in half precision, below which memory is not worth time
MAX_ROWS_IN_CHUNKS = 64  # heads x samples that the chunked attention may go through one by one


def cases(
    model: nn.Module, shape: Sequence[int], dtype: torch.dtype, device: torch.device, training: bool
) -> dict[str, str]:
    """{layer name: its case} of the layers that a forward pass of clips of `shape` (B, C, T, H, W) meets.

    Only shapes are followed, on a copy without values.
    """
    if not any(_kind(layer) for layer in model.modules()):
        return {}
    shadow = copy.deepcopy(model).to("meta").train(training).requires_grad_(False)
    found: dict[str, str] = {}

    def note(name: str, kind: str) -> Callable[[nn.Module, tuple], None]:
        def hook(layer: nn.Module, inputs: tuple) -> None:
            used = torch.float32 if getattr(layer, "fp32", False) else dtype
            mode = "train" if training else "eval"
            found[name] = f"{kind} {_sizes(layer, kind, inputs[0])} {_name(used)} {_place(device)} {mode}"

        return hook

    for name, layer in shadow.named_modules():
        if kind := _kind(layer):
            layer.register_forward_pre_hook(note(name, kind))
    shadow(torch.empty(tuple(shape), device="meta"))
    return found


def complete(
    plan: Plan, wanted: Sequence[str], device: torch.device, forced: Mapping[str, str]
) -> tuple[Plan, int]:
    """The part of a plan for the cases wanted, with what it lacks measured; and how many that were.

    forced: kind to way, AUTO or a name; `mlp` goes by `linear`. A forced way is taken as it is, without a trial.
    """
    made: Plan = {}
    measured = 0
    for case in dict.fromkeys(wanted):
        kind = case.split()[0]
        way = forced.get("linear" if kind == "mlp" else kind, AUTO)
        if way != AUTO:
            made[case] = _forced(kind, way)
        elif case in plan:
            made[case] = plan[case]
        else:
            made[case] = _measured(case, device)
            measured += 1
    return made, measured


def apply(model: nn.Module, found: Mapping[str, str], plan: Mapping[str, str]) -> None:
    """Set the ways of layers, {layer name: case} as of `cases`, for the mode that their cases name."""
    for name, case in found.items():
        layer, way = model.get_submodule(name), plan[case]
        value = ops.DepthwiseWay(*way.split("/")) if case.startswith("depthwise") else way
        layer.ways = {**layer.ways, case.endswith(" train"): value}


def passes_of(case: str, way: str, device: torch.device) -> Callable[[], object]:
    """A whole layer of a case as a call: forward, and in training backward; for benchmarks.

    `plain` is the way of the published code: native convolutions, and linear layers and attention as they are written.
    """
    kind, *sizes, dtype, _, mode = case.split()
    draw, function = _draw(getattr(torch, dtype), device), _PLAIN.get(kind)
    if kind == "depthwise":
        shape, kernel = _split(sizes[0]), _split(sizes[1][1:])
        inputs = (draw(*shape), draw(shape[-1], 1, *kernel), draw(shape[-1]))
        chosen = ops.DepthwiseWay(*("native",) * 3) if way == "plain" else ops.DepthwiseWay(*way.split("/"))
        return _passes(lambda *given: ops.depthwise_conv3d(*given, chosen), inputs, mode == "train")
    if kind == "attention":
        rows, num_tokens, heads, width = _split(sizes[0])
        inputs = (draw(rows, num_tokens, 3, heads, width),)
        function = function if way == "plain" else lambda qkv: ops.attention(qkv, width**-0.5, way)
    else:
        inputs = _linear_inputs(kind, sizes[0], draw)
        ours = ops.mlp if kind == "mlp" else ops.linear
        function = function if way == "plain" else lambda *given: ours(*given, way)
    return _passes(function, inputs, mode == "train")


def summary(plan: Mapping[str, str]) -> str:
    """One line: how many cases have which way."""
    counts: dict[str, int] = {}
    for case, way in plan.items():
        entry = f"{case.split()[0]} {way}"
        counts[entry] = counts.get(entry, 0) + 1
    return ", ".join(f"{entry} ({count})" for entry, count in sorted(counts.items()))


# ----------------------------------------------------------------------------------------------------------
# Cases
# ----------------------------------------------------------------------------------------------------------
def _kind(layer: nn.Module) -> str | None:
    return next((kind for known, kind in KINDS.items() if isinstance(layer, known)), None)


def _sizes(layer: nn.Module, kind: str, values: Tensor) -> str:
    """The shape of a case: what its trial is made from, see `_trials`."""
    if kind == "depthwise":
        return f"{_joined(values.shape)} k{_joined(layer.kernel_size)}"
    if kind == "attention":
        heads = layer.num_heads
        return _joined((*values.shape[:2], heads, values.shape[2] // heads))
    rows, channels = math.prod(values.shape[:-1]), values.shape[-1]
    return _joined((rows, channels, len(layer.fc1.weight if kind == "mlp" else layer.weight)))


def _joined(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _split(sizes: str) -> list[int]:
    return [int(size) for size in sizes.split("x")]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _place(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device).replace(" ", "-")
    return f"{device.type}-{torch.get_num_threads()}"


def _forced(kind: str, way: str) -> str:
    if kind != "depthwise":
        return way
    return "/".join((way, way, way if way in ops.KERNEL_GRADIENT_WAYS else AUTO))


# ----------------------------------------------------------------------------------------------------------
# Trials
# ----------------------------------------------------------------------------------------------------------
def _measured(case: str, device: torch.device) -> str:
    kind, *sizes, dtype, _, mode = case.split()
    trials = _trials(kind, sizes, getattr(torch, dtype), device, mode == "train")
    return "/".join(fastest(ways, device) for ways in trials)


def fastest(ways: Mapping[str, Callable[[], object]], device: torch.device) -> str:
    """The name of the quickest call, by its best of a few rounds; the first, the default, unless one is clearly so.

    The best round is what other work on the machine disturbed least.
    """
    clock = _clock(device)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(MOST_ROUNDS + 1):  # the first one warms up
        if number > ROUNDS and sum(map(sum, seconds.values())) > ENOUGH_SECONDS:
            break
        best = min((min(times) for times in seconds.values() if times), default=math.inf)
        for name, call in ways.items():
            if number > 1 and min(seconds[name]) > HOPELESS * best:
                continue
            start = clock()
            call()
            if number:
                seconds[name].append(clock() - start)
    bests = {name: min(times) for name, times in seconds.items()}
    default, quickest = next(iter(ways)), min(bests, key=bests.__getitem__)
    return quickest if bests[quickest] < WORTH * bests[default] else default


def _clock(device: torch.device) -> Callable[[], float]:
    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def _trials(
    kind: str, sizes: Sequence[str], dtype: torch.dtype, device: torch.device, training: bool
) -> list[dict[str, Callable[[], object]]]:
    """What is chosen on its own, each as {way: call}, the default first."""
    draw = _draw(dtype, device)
    if kind == "depthwise":
        return _depthwise_trials(draw, _split(sizes[0]), _split(sizes[1][1:]), training)
    if kind == "attention":
        rows, num_tokens, heads, width = _split(sizes[0])
        ways = [way for way in ops.ATTENTION_WAYS if way != "chunked" or _takes_chunks(dtype, device, rows * heads)]
        inputs = (draw(rows, num_tokens, 3, heads, width),)
        calls = {way: lambda qkv, way=way: ops.attention(qkv, width**-0.5, way) for way in ways}
    else:
        inputs = _linear_inputs(kind, sizes[0], draw)
        function = ops.mlp if kind == "mlp" else ops.linear
        ways = ops.LINEAR_WAYS if _takes_onednn(dtype, device) else ops.LINEAR_WAYS[:1]
        if kind == "mlp" and training and _may_keep(dtype, device):
            rows, _, hidden = _split(sizes[0])
            ways = (*ways, "kept") if rows * hidden >= LEAST_WORTH_SAVING else ("kept",)
        calls = {way: lambda *given, way=way: function(*given, way) for way in ways}
    return [{way: _passes(call, inputs, training) for way, call in calls.items()}]


def _draw(dtype: torch.dtype, device: torch.device) -> Callable[..., Tensor]:
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    return draw


def _linear_inputs(kind: str, sizes: str, draw: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    rows, channels, hidden = _split(sizes)
    first = (draw(hidden, channels), draw(hidden))
    second = (draw(channels, hidden), draw(channels)) if kind == "mlp" else ()
    return (draw(rows, channels), *first, *second)


def _plain_attention(qkv: Tensor) -> Tensor:
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return (ops.attention_weights(query, key, qkv.shape[-1] ** -0.5) @ value).transpose(1, 2)


_PLAIN: dict[str, Callable[..., Tensor]] = {
    "linear": F.linear,
    "mlp": lambda rows, *weights: F.linear(F.gelu(F.linear(rows, *weights[:2])), *weights[2:]),
    "attention": _plain_attention,
}


def _passes(call: Callable[..., Tensor], inputs: Sequence[Tensor], training: bool) -> Callable[[], object]:
    """Forward, and in training backward to all inputs."""
    if not training:
        return lambda: torch.no_grad()(call)(*inputs)
    inputs = [value.requires_grad_() for value in inputs]
    upstream = torch.ones_like(call(*inputs))
    return lambda: torch.autograd.grad(call(*inputs), inputs, upstream)


def _depthwise_trials(
    draw: Callable[..., Tensor], shape: Sequence[int], kernel: Sequence[int], training: bool
) -> list[dict[str, Callable[[], object]]]:
    tokens, weight, bias = draw(*shape), draw(shape[-1], 1, *kernel), draw(shape[-1])
    left_out = () if takes_triton(tokens, kernel) else ("triton",)
    convolve = _default_first(ops.CONVOLUTION_WAYS, ops.DepthwiseWay().forward, left_out)
    grads = draw(*shape)
    trials = [{way: lambda way=way: ops.CONVOLUTION_WAYS[way](tokens, weight, bias) for way in convolve}]
    if training:
        kernels = _default_first(
            ops.KERNEL_GRADIENT_WAYS, "taps" if max(kernel[1:]) <= 3 else "band", left_out
        )
        trials += [
            {way: lambda way=way: tokens_gradient(grads, weight, way) for way in convolve},
            {way: lambda way=way: kernel_gradient(tokens, grads, weight.shape, way) for way in kernels},
        ]
    else:
        trials += [{ops.DepthwiseWay().tokens_gradient: lambda: None}, {AUTO: lambda: None}]
    return trials


def _default_first(names: Mapping[str, object], default: str, left_out: Sequence[str]) -> list[str]:
    return [default, *(name for name in names if name not in (default, *left_out))]


def _takes_onednn(dtype: torch.dtype, device: torch.device) -> bool:
    return device.type == "cpu" and dtype == torch.float32 and ops.has_onednn(dtype)


def _may_keep(dtype: torch.dtype, device: torch.device) -> bool:
    """On a CPU in half precision GELU is a large share of an MLP; elsewhere the memory is worth more than the time."""
    return device.type == "cpu" and dtype == torch.bfloat16


def _takes_chunks(dtype: torch.dtype, device: torch.device, heads: int) -> bool:
    return device.type == "cpu" and ops.has_onednn(dtype) and heads <= MAX_ROWS_IN_CHUNKS
