"""Masks as an operator: what a generator of that seed gives, and nothing that a compiler cannot follow."""

import torch

from slowfast.models import ops
from slowfast.utils.seeds import derive

ARGUMENTS = (torch.tensor(2**62 + 1), 1, [3, 2], 0.4, torch.bfloat16, torch.device("cpu"))


def test_a_mask_is_what_a_generator_of_seed_and_draw_gives():
    uniform = torch.rand(3, 2, generator=torch.Generator().manual_seed(derive(2**62 + 1, 1)))
    mask = ops.seeded_mask(*ARGUMENTS)
    assert mask.dtype == torch.bfloat16
    assert torch.equal(mask.float(), (uniform >= 0.4).float())
    assert torch.equal(mask, ops.seeded_mask(*ARGUMENTS))


def test_compilers_can_follow_it():
    torch.library.opcheck(ops.seeded_mask, ARGUMENTS)
