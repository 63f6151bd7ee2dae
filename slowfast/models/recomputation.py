"""Which blocks recompute their activations in backward, so that a training step fits into a given memory.

What a block keeps for backward is counted, not guessed: autograd shows each tensor that it saves to a hook. Bytes
are those of whole storages, each counted once; parameters and buffers, which are there anyway, are left out.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slowfast.models import complexity
from slowfast.models.layers import set_step_seed, statistics_kept
from slowfast.models.uniformer import NUM_STAGES, UniformerBase
from slowfast.utils.seeds import forked_torch_stream

# Room for what backward works with, gradients of activations and copies in other layouts, and for holes that the C
# library leaves: as much as so many of the largest block save. Peaks of resident memory of two steps in fresh processes
# on a CPU were above the sum without it by up to 0.9 of them for UniFormer-S (8x112, 4 to 8 clips, no, some or all
# blocks recomputed; one run by 3.5; below it in bfloat16), and by 1.2 to 2.4 for XXS, whose blocks are small beside its
# stem.
WORKING_BLOCKS = 2.5
FEWEST_CLIPS = 2  # a batch norm wants two values, and a short, small clip has one token in the last stage


Storages = dict[int, torch.UntypedStorage]  # by address; held, so that no address is used twice


class BlockCost(NamedTuple):
    """What one block takes: bytes saved for backward, bytes of its inputs, multiply-accumulates of its forward pass."""

    saved: int
    inputs: int
    macs: int


class Account(NamedTuple):
    """What a forward pass in training saves: by stage and block, and `other`, the bytes saved outside of blocks."""

    stages: list[list[BlockCost]]
    other: int


def account(
    model: UniformerBase, shape: Sequence[int], dtype: torch.dtype | None, device: torch.device
) -> Account:
    """What training with clips of `shape` (B, C, T, H, W), under autocast to `dtype` if it is given, saves.

    Counted in forward passes of at most 3 clips, none of whose activations stay: for a larger batch what a clip
    adds is added for each. The model must be on `device`, in training mode, with no block recomputed; it is left as
    it was, but for its step seed.
    """
    assert model.training and not any(model.checkpoint)
    clips = min(shape[0], FEWEST_CLIPS)
    found = _saved(model, (clips, *shape[1:]), dtype, device)
    if shape[0] > clips:
        more = _saved(model, (clips + 1, *shape[1:]), dtype, device)
        found = {name: few + (more[name] - few) * (shape[0] - clips) for name, few in found.items()}
    macs = complexity.by_module(model, (1, *shape[1:]))
    stages = [
        [
            BlockCost(found[name], found[f"{name} inputs"], macs[name] * shape[0])
            for name in (f"blocks{stage}.{index}" for index in range(len(getattr(model, f"blocks{stage}"))))
        ]
        for stage in range(1, NUM_STAGES + 1)
    ]
    return Account(stages, found[""])


def peak(stages: Sequence[Sequence[BlockCost]], fixed: int, counts: Sequence[int]) -> int:
    """Bytes that a training step takes at its peak, with the first `counts` blocks of each stage recomputed.

    Backward goes from the last block to the first. When it is at a block, those before hold what they saved, or
    their inputs where they are recomputed; the block itself, recomputed or not, has all it saves. Room to work
    (WORKING_BLOCKS) comes on top, and `fixed`, which is there all the time.
    """
    highest = held = 0
    for blocks, count in zip(stages, counts, strict=True):
        for index, block in enumerate(blocks):
            highest = max(highest, held + block.saved)
            held += block.inputs if index < count else block.saved
    largest = max(block.saved for blocks in stages for block in blocks)
    return fixed + highest + int(WORKING_BLOCKS * largest)


def choose(stages: Sequence[Sequence[BlockCost]], fixed: int, limit: int) -> tuple[int, ...]:
    """How many of the first blocks of each stage to recompute: the least arithmetic whose peak is at most `limit`.

    All of them if not even that fits. Every choice is looked at: 720 of UniFormer-S, 9,072 of UniFormer-B.
    """
    options = product(*(range(len(blocks) + 1) for blocks in stages))
    peaks = {counts: peak(stages, fixed, counts) for counts in options}
    fitting = [counts for counts, most in peaks.items() if most <= limit]
    if not fitting:
        return tuple(map(len, stages))
    return min(fitting, key=lambda counts: (macs(stages, counts), peaks[counts]))


def macs(stages: Sequence[Sequence[BlockCost]], counts: Sequence[int]) -> int:
    """Multiply-accumulates that a step does twice, with the first `counts` blocks of each stage recomputed."""
    return sum(block.macs for blocks, count in zip(stages, counts, strict=True) for block in blocks[:count])


def _saved(
    model: UniformerBase, shape: Sequence[int], dtype: torch.dtype | None, device: torch.device
) -> dict[str, int]:
    """Bytes saved in one forward pass: of each block by its name, of its inputs by "NAME inputs", of the rest by ""."""
    sizes: dict[str, int] = {}
    at_work: list[tuple[str, Storages]] = [("", {})]  # outside of blocks, then the block that runs
    known: set[int] = set()  # addresses of parameters and buffers

    def note(value: Tensor) -> None:
        storage = value.untyped_storage()
        if storage.data_ptr() not in known:
            at_work[-1][1].setdefault(storage.data_ptr(), storage)

    def enter(name: str, inputs: tuple) -> None:
        given = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in _tensors(inputs)}
        sizes[f"{name} inputs"] = _bytes({place: given[place] for place in given.keys() - known})
        at_work.append((name, {}))

    def leave() -> None:
        name, storages = at_work.pop()
        sizes[name] = _bytes(storages)

    hooks = []
    for stage in range(1, NUM_STAGES + 1):
        for index, block in enumerate(getattr(model, f"blocks{stage}")):
            name = f"blocks{stage}.{index}"
            hooks.append(block.register_forward_pre_hook(lambda _, inputs, name=name: enter(name, inputs)))
            hooks.append(block.register_forward_hook(lambda *_: leave()))
    clips = torch.zeros(tuple(shape), device=device)
    set_step_seed(model, 0)
    try:
        with (
            statistics_kept(model),
            forked_torch_stream("recomputation"),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
            torch.autograd.graph.saved_tensors_hooks(note, lambda _: None),
        ):
            known |= {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
            model(clips)
    finally:
        for hook in hooks:
            hook.remove()
    leave()
    return sizes


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _bytes(storages: Storages) -> int:
    return sum(storage.nbytes() for storage in storages.values())
