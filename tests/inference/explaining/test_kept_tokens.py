"""The tokens shown as kept are those that a block updates one by one."""

import torch

from slowfast.inference.explaining.kept_tokens import kept_tokens, marked


def test_half_of_the_tokens_are_kept_and_only_they_change_by_themselves(light, clip):
    kept = kept_tokens(light, clip)
    assert list(kept) == ["blocks3.1", "blocks4.0", "blocks4.1"]
    assert [int(marks.sum()) for marks, _ in kept.values()] == [16, 4, 4]
    block, ends = light.model.blocks3[1], {}
    hook = block.register_forward_hook(lambda _, given, output: ends.update(before=given[0], after=output[0]))
    with torch.no_grad():
        light.model(light.model_input(clip[None]))
        before = ends["before"] + block.pos_embed(ends["before"])
    hook.remove()
    change = (ends["after"] - before)[0]
    marks, grid = kept["blocks3.1"]
    assert grid.shape == tuple(marks.shape) == (2, 4, 4)
    shared = change[~marks]
    torch.testing.assert_close(shared, shared[:1].expand_as(shared), rtol=1e-3, atol=1e-5)
    assert float((change[marks] - shared[0]).abs().amax(dim=-1).min()) > 1e-3


def test_places_are_counted_along_rows_of_the_grid():
    marks = marked(torch.tensor([0, 7, 5]), (2, 2, 2))
    assert marks.nonzero().tolist() == [[0, 0, 0], [1, 0, 1], [1, 1, 1]]


def test_other_models_keep_all(clip, tiny, wrap):
    assert kept_tokens(wrap(tiny("joint")), clip) == {}
