"""The model beside its plain formulation: a training step (forward, backward, AdamW) or a forward pass, in turns.

Ways: `plain` is slowfast.benchmarking.plain in float32; `fp32` and `bf16` are ours, with the operators that a run
would choose. On a GPU `plain_bf16` is there too, the plain formulation as people train with it there. All start from
the same weights and see the same clips.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from slowfast.benchmarking.plain import Plain
from slowfast.benchmarking.turns import cell, summary, take_turns
from slowfast.engine import precision
from slowfast.engine.compiling import compile_forward
from slowfast.models import complexity, ops, tuning
from slowfast.models.ops.dense import product
from slowfast.utils import environment

WAYS = {
    "plain": torch.float32,
    "plain_bf16": torch.bfloat16,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
}
ONLY_ON_A_GPU = "plain_bf16"
GROUPS = {  # parts of the names of the framework's operators, and of kernels on a GPU, the first that fits
    "attention": ("scaled_dot_product", "softmax", "flash", "fmha"),
    "convolutions": ("conv", "fprop", "dgrad", "wgrad", "_kernel_gradient"),
    "matrix products": ("mm", "_linear_pointwise", "matmul", "nvjet", "cutlass"),
    "norms": ("norm",),
    "optimizer": ("adam",),
    "copies": ("copy", "cat", "contiguous", "clone"),
}
PEAK_SIZES = {"cpu": 2048, "cuda": 8192}  # of the matrices that fill the device
SMALLEST_PEAK_SIZE = 256
LONGEST_PRODUCT = 0.5  # seconds
PASSES_OF_A_STEP = 3  # forward, and backward to inputs and to weights: its arithmetic over that of a forward pass


def subject(
    build: Callable[[], nn.Module],
    shape: Sequence[int],
    device: torch.device,
    way: str,
    training: bool,
    plan: tuning.Plan,
    compiled: bool = False,
) -> Callable[[], None]:
    """What is timed: a call for one step or forward pass of clips of `shape`. Adds what it measures to the plan.

    compiled: ours through torch.compile, which then happens in the first call.
    """
    dtype = WAYS[way]
    model = build().to(device).train(training)
    if way.startswith("plain"):
        called: nn.Module = Plain(model).train(training)
    else:
        called = model
        tuning.apply(model, _choose(model, shape, device, way, training, plan), plan)
        if compiled:
            compile_forward(model, logging.getLogger(__name__))
    clips = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.zeros(len(clips), dtype=torch.int64, device=device)
    autocast = None if dtype == torch.float32 else dtype

    def forward() -> None:
        with torch.inference_mode(), precision.autocast(device, autocast):
            called(clips)
        _wait(device)

    if not training:
        return forward
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with precision.autocast(device, autocast):
            heads = called(clips)
        heads = heads if isinstance(heads, tuple) else (heads,)
        sum(F.cross_entropy(logits.float(), labels) for logits in heads).backward()
        optimizer.step()
        _wait(device)

    return step


def _choose(
    model: nn.Module, shape: Sequence[int], device: torch.device, way: str, training: bool, plan: tuning.Plan
) -> dict[str, str]:
    """The cases of the model by layer; the plan gets those that it lacks."""
    found = tuning.cases(model, shape, WAYS[way], device, training)
    plan |= tuning.complete(plan, list(found.values()), device, {})[0]
    return found


def run(
    build: Callable[[], nn.Module],
    shape: Sequence[int],
    device: torch.device,
    training: bool,
    rounds: int,
    compiled: bool = False,
) -> dict:
    """Times for each way, with shares of the peak of arithmetic, and where the time goes, by group of operators."""
    plan: tuning.Plan = {}
    ways = {way: dtype for way, dtype in WAYS.items() if device.type == "cuda" or way != ONLY_ON_A_GPU}
    calls = {way: subject(build, shape, device, way, training, plan, compiled) for way in ways}
    measured = summary(take_turns({way: lambda _, call=call: call() for way, call in calls.items()}, rounds))
    macs = complexity.count(build(), (1, *shape[1:]))["macs"] * shape[0]
    flops = 2 * macs * (PASSES_OF_A_STEP if training else 1)
    peaks = {dtype: peak_flops(device, dtype) for dtype in dict.fromkeys(ways.values())}
    for way, numbers in measured.items():
        seconds = numbers["median_ms"] / 1e3
        numbers["clips_per_second"] = shape[0] / seconds
        numbers["share_of_peak"] = flops / seconds / peaks[ways[way]]
        numbers["by_group_ms"] = by_group(calls[way], device)
    peaks_named = {str(dtype).removeprefix("torch."): peak / 1e9 for dtype, peak in peaks.items()}
    return {"ways": measured, "gmacs": macs / 1e9, "peak_gflops": peaks_named, "operators": plan}


def peak_flops(device: torch.device, dtype: torch.dtype, rounds: int = 7) -> float:
    """Floating-point operations a second of the fastest matrix product there is here, of square matrices.

    They are as large as PEAK_SIZES says, smaller where one would take long: in bfloat16 on processors without it.
    """
    size, generator = SMALLEST_PEAK_SIZE, torch.Generator(device).manual_seed(0)
    while True:
        a, b = torch.randn(2, size, size, generator=generator, device=device).to(dtype)
        products: list[Callable[[], Tensor]] = [lambda a=a, b=b: a @ b]
        if device.type == "cpu" and dtype == torch.float32 and ops.has_onednn(dtype):
            products.append(lambda a=a, b=b: product(a, b))
        seconds = min(_seconds(call, device) for _ in range(rounds) for call in products)
        if size >= PEAK_SIZES[device.type] or 8 * seconds > LONGEST_PRODUCT:
            return 2 * size**3 / seconds
        size *= 2


def _seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def by_group(call: Callable[[], None], device: torch.device) -> dict[str, float]:
    """Milliseconds of one call in each of GROUPS, and in all others, by the framework's profiler.

    Of operators on a CPU; on a GPU of its kernels.
    """
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        call()
    spent = dict.fromkeys((*GROUPS, "other"), 0.0)
    for event in profiled.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        name = event.key.lower()
        group = next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), "other")
        spent[group] += microseconds / 1e3
    return spent


def memory(
    build: Callable[[], nn.Module],
    shape: Sequence[int],
    device: torch.device,
    way: str,
    training: bool,
    plan: tuning.Plan,
    compiled: bool = False,
) -> float:
    """MiB that the first step or pass takes at its peak above what there was before, in a fresh process.

    Operators that the plan lacks are chosen before, and added to it, since trials would take memory of their own.
    """
    if not way.startswith("plain"):
        _choose(build(), shape, device, way, training, plan)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # of this process, which would be in the way of the other
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_memory_here, (build, shape, device, way, training, plan, compiled))


def _memory_here(build, shape, device, way, training, plan: tuning.Plan, compiled: bool) -> float:
    call = subject(build, shape, device, way, training, dict(plan), compiled)
    if compiled:
        call()  # compiling takes memory of its own
    peak = environment.peak_of(call, device)
    return float("nan") if peak is None else peak / 2**20


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(results: Mapping[str, Mapping]) -> str:
    """Lines for people: milliseconds a call, median and quartiles, with what follows from them."""
    lines = [
        "| what | way | ms | times faster | clips/s | share of peak | peak MiB (clips, share of plain) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        for way, numbers in result["ways"].items():
            held = _memory_cell(numbers, result) if "peak_mib" in numbers else "-"
            lines.append(
                f"| {name} | {way} | {cell(numbers)} | {numbers['times_faster']:.2f} | "
                f"{numbers['clips_per_second']:.2f} | {numbers['share_of_peak']:.0%} | {held} |"
            )
    return "\n".join(lines)


def _memory_cell(numbers: Mapping, result: Mapping) -> str:
    share = numbers["peak_mib"] / result["ways"]["plain"]["peak_mib"]
    return f"{numbers['peak_mib']:.0f} ({result['memory_clips']}, {share:.0%})"


def profiles(results: Mapping[str, Mapping]) -> str:
    """Milliseconds by group of operators, a line for each way."""
    groups = (*GROUPS, "other")
    lines = [f"| what | way | {' | '.join(groups)} |", f"| --- | --- |{' --- |' * len(groups)}"]
    for name, result in results.items():
        for way, numbers in result["ways"].items():
            cells = " | ".join(f"{numbers['by_group_ms'][group]:.0f}" for group in groups)
            lines.append(f"| {name} | {way} | {cells} |")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------------
# Operators one by one
# ----------------------------------------------------------------------------------------------------------
def operators(cases: Sequence[str], device: torch.device, rounds: int) -> dict[str, dict]:
    """For each case (slowfast.models.tuning) the way that is chosen, timed in turns with the plain one.

    slower: by more than a tenth and with quartiles that lie apart.
    """
    plan, _ = tuning.complete({}, cases, device, {})
    outcome = {}
    for case in cases:
        calls = {way: tuning.passes_of(case, way, device) for way in ("plain", plan[case])}
        measured = summary(take_turns({way: lambda _, call=call: call() for way, call in calls.items()}, rounds))
        ours, plain = measured[plan[case]], measured["plain"]
        slower = ours["median_ms"] > 1.1 * plain["median_ms"] and ours["quartiles_ms"][0] > plain["quartiles_ms"][1]
        outcome[case] = {"way": plan[case], "plain": plain, "ours": ours, "slower": slower}
    return outcome


def operator_table(outcome: Mapping[str, Mapping]) -> str:
    """Lines for people, a case each."""
    lines = ["| case | way | plain ms | ours ms | times faster |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {case} | {one['way']} | {cell(one['plain'])} | {cell(one['ours'])} | {one['ours']['times_faster']:.2f}"
        f"{' SLOWER' if one['slower'] else ''} |"
        for case, one in outcome.items()
    ]
    return "\n".join(lines)
