"""What blocks save is counted to the byte, and of all ways to fit a memory the cheapest one is chosen."""

import random
from itertools import product

import pytest
import torch
from torch import nn

from slowfast.models import complexity, recomputation
from slowfast.models.layers import set_step_seed
from slowfast.models.recomputation import BlockCost, account, choose, macs, peak
from slowfast.models.uniformer import Uniformer, UniformerBase
from slowfast.models.uniformer_light import UniformerLight

CPU = torch.device("cpu")
TINY = {
    "num_classes": 5,
    "depth": (1, 2, 2, 1),
    "embed_dim": (16, 32, 64, 64),
    "head_dim": 16,
    "drop_path": 0.3,
}
SHAPE = (5, 3, 4, 64, 64)


class SineBlock(nn.Module):
    """Saves its input for the sine, and what the exponential gave; nothing for the sum."""

    def forward(self, tokens, state):
        return tokens + torch.sin(tokens).exp(), state


class Sines(UniformerBase):
    """Four stages of such blocks on clips themselves; the head saves its rows and the weights, which do not count."""

    def __init__(self, depth=(1, 2, 0, 1)):
        super().__init__(3, (0, 0, 0, 0))
        for stage, blocks in enumerate(depth, start=1):
            self.add_module(f"blocks{stage}", nn.ModuleList(SineBlock() for _ in range(blocks)))
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(3, 5)

    def forward(self, clips):
        tokens, state = clips * self.scale, None  # saves the clips
        for stage in range(1, 5):
            tokens, state = self.run_blocks(stage, tokens, state)
        return self.head(tokens.mean(dim=(2, 3, 4)))


def test_bytes_are_those_that_follow_from_the_formulas():
    one = 4 * 5 * 3 * 4 * 64 * 64  # a float32 tensor of the clips' shape
    found = account(Sines().train(), SHAPE, None, CPU)
    assert [len(blocks) for blocks in found.stages] == [1, 2, 0, 1]
    assert {(block.saved, block.inputs) for blocks in found.stages for block in blocks} == {(2 * one, one)}
    assert found.other == one + 4 * 5 * 3


def models():
    yield Uniformer(**TINY)
    yield Uniformer(**TINY, split=True, dropout=0.1)
    yield UniformerLight(**TINY, layer_scale=0.5)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("model", list(models()), ids=("joint", "split", "light"))
def test_what_is_counted_is_all_that_autograd_holds(model, dtype):
    """Five clips are told from two and three, weights in half precision counted once."""
    found = account(model.train(), SHAPE, dtype, CPU)
    held = {}
    known = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}

    def keep(value):
        held[value.untyped_storage().data_ptr()] = value.untyped_storage()
        return None

    set_step_seed(model, 0)
    with (
        torch.autocast("cpu", dtype=dtype, enabled=dtype is not None),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda _: None),
    ):
        model(torch.zeros(SHAPE))
    expected = sum(storage.nbytes() for place, storage in held.items() if place not in known)
    assert sum(block.saved for blocks in found.stages for block in blocks) + found.other == expected


def test_blocks_save_more_than_their_inputs_and_cost_what_they_multiply():
    model = Uniformer(**TINY).train()
    found = account(model, SHAPE, None, CPU)
    blocks = [block for stage in found.stages for block in stage]
    assert all(block.saved > 2 * block.inputs for block in blocks)
    tokens, width = (
        2 * 16 * 16,
        16,
    )  # of a clip in stage 1; kernels of 27 and 125 values, norms 2 a value, an MLP of 4
    assert blocks[0].inputs == 5 * 4 * tokens * width
    assert blocks[0].macs == 5 * tokens * width * (27 + 2 + width + 125 + width + 2 + 8 * width)
    assert sum(block.macs for block in blocks) < 5 * complexity.count(model, (1, *SHAPE[1:]))["macs"]


def test_counting_leaves_no_trace():
    model = Uniformer(**TINY, dropout=0.1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    account(model, SHAPE, None, CPU)
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in model.modules())


def test_a_single_clip_of_few_tokens_is_counted_as_it_is():
    one, two = (account(Sines().train(), (clips, 3, 2, 32, 32), None, CPU) for clips in (1, 2))
    assert 2 * one.stages[0][0].saved == two.stages[0][0].saved == 2 * 4 * 2 * 3 * 2 * 32 * 32
    account(
        Uniformer(**TINY).train(), (2, 3, 2, 32, 32), None, CPU
    )  # one token a clip: one clip has no variance


# Two blocks of stage 1 and one of each other, bytes saved, of inputs, and arithmetic.
STAGES = [
    [BlockCost(100, 10, 5), BlockCost(100, 10, 5)],
    [BlockCost(50, 8, 5)],
    [BlockCost(30, 4, 9)],
    [BlockCost(20, 2, 4)],
]


@pytest.fixture
def one_block_of_room(monkeypatch):
    """Room to work for as much as the largest block saves, 100."""
    monkeypatch.setattr(recomputation, "WORKING_BLOCKS", 1)


def test_the_peak_is_where_backward_holds_most(one_block_of_room):
    assert peak(STAGES, 1000, (0, 0, 0, 0)) == 1100 + 100 + 100 + 50 + 30 + 20  # at the last block
    assert peak(STAGES, 1000, (1, 0, 0, 0)) == 1100 + 10 + 100 + 50 + 30 + 20
    assert peak(STAGES, 1000, (2, 0, 0, 0)) == 1100 + 10 + 10 + 50 + 30 + 20
    assert peak(STAGES, 1000, (2, 1, 0, 0)) == 1100 + 10 + 100  # at the second, which has all it saves
    assert macs(STAGES, (1, 0, 1, 1)) == 5 + 9 + 4


@pytest.mark.parametrize(
    ("limit", "counts"),
    [
        (1400, (0, 0, 0, 0)),
        (
            1399,
            (1, 0, 0, 0),
        ),  # and not the last block, cheaper as it is: backward starts there, with all it saves
        (1310, (1, 0, 0, 0)),
        (1309, (2, 0, 0, 0)),
        (1220, (2, 0, 0, 0)),
        (1219, (2, 1, 0, 0)),
        (1210, (2, 1, 0, 0)),
    ],
)
def test_the_first_choice_is_what_costs_least(one_block_of_room, limit, counts):
    assert choose(STAGES, 1000, limit) == counts


def test_all_blocks_are_recomputed_where_nothing_fits(one_block_of_room):
    assert choose(STAGES, 1000, 1209) == (2, 1, 1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_that_fits_costs_less(seed):
    draw = random.Random(seed)
    depth = [draw.randint(1, 3) for _ in range(4)]
    stages = [
        [BlockCost(draw.randint(5, 90), draw.randint(1, 5), draw.randint(1, 9)) for _ in range(n)]
        for n in depth
    ]
    for limit in (100, 250, 350, 450, 700):
        chosen = choose(stages, 0, limit)
        costs = [
            sum(block.macs for blocks, n in zip(stages, counts, strict=True) for block in blocks[:n])
            for counts in product(*(range(n + 1) for n in depth))
            if peak(stages, 0, counts) <= limit
        ]
        if costs:
            assert peak(stages, 0, chosen) <= limit and macs(stages, chosen) == min(costs)
        else:
            assert chosen == tuple(depth)


@pytest.mark.parametrize("wrong", [(1, 1, 1), (0, 0, -1, 0)])
def test_counts_of_blocks_are_checked(wrong):
    with pytest.raises(ValueError, match="one number for each of 4 stages|0 or more"):
        Uniformer(**TINY).recompute(wrong)
