"""Weights of tokens are those that the blocks use, at the places where the tokens lie."""

import pytest
import torch

from slowfast.inference.explaining.blocks import inputs_of
from slowfast.inference.explaining.relations import local_weights, put_back, relations


def softmax_row(attention, rows, query):
    """(h, N): one row of softmax(q k / sqrt(d)), written out."""
    qkv = torch.nn.functional.linear(rows, attention.qkv.weight, attention.qkv.bias)
    heads = attention.num_heads
    query_of, key, _ = (part.unflatten(-1, (heads, -1)) for part in qkv.chunk(3, dim=-1))
    return torch.stack(
        [
            torch.softmax(key[:, head] @ query_of[query, head] / query_of.shape[-1] ** 0.5, dim=0)
            for head in range(heads)
        ]
    )


def test_a_local_block_shows_the_shares_of_its_kernel_around_the_token():
    kernel = torch.zeros(2, 1, 3, 3, 3)
    kernel[0, 0, 1, 1, 1], kernel[0, 0, 1, 1, 2] = 1.0, -3.0
    kernel[1, 0, 0, 1, 1] = 5.0
    weights = local_weights(kernel, (2, 3, 3), (1, 0, 0))
    expected = torch.zeros(2, 3, 3)
    expected[1, 0, 0], expected[1, 0, 1], expected[0, 0, 0] = 0.25 / 2, 0.75 / 2, 1.0 / 2
    torch.testing.assert_close(weights, expected)
    assert local_weights(kernel, (2, 3, 3), (1, 0, 0), head=0)[1, 0, 1] == 0.75
    # In the corner of the last frame, what lies to the right and before is missing or another token.
    assert float(local_weights(kernel, (2, 3, 3), (0, 2, 2)).sum()) == pytest.approx(0.125)
    assert not local_weights(torch.zeros(2, 1, 3, 3, 3), (2, 3, 3), (0, 0, 0)).any()


def test_the_kernel_of_a_large_clip_is_seen_whole():
    kernel = torch.rand(4, 1, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    weights = local_weights(kernel, (7, 8, 9), (3, 4, 5))
    assert float(weights.sum()) == pytest.approx(1.0)
    assert int((weights > 0).sum()) == 125 and bool((weights[1:6, 2:7, 3:8] > 0).all())


def test_a_joint_block_shows_its_row_of_attention(clip, tiny, wrap):
    classifier = wrap(tiny("joint"))
    block = classifier.model.blocks3[1]
    (found,) = relations(classifier, clip, ["blocks3.1"], (2.0, 33.0, 17.0))
    assert found.token == (1, 2, 1) and not found.local and found.class_token == 0.0
    rows = inputs_of(classifier.model, {"rows": block.attn}, classifier.model_input(clip[None]))["rows"][0][0]
    expected = softmax_row(block.attn, rows, 1 * 16 + 2 * 4 + 1)
    torch.testing.assert_close(found.weights.flatten(), expected.mean(0))
    (second,) = relations(classifier, clip, ["blocks3.1"], (2.0, 33.0, 17.0), head=1)
    torch.testing.assert_close(second.weights.flatten(), expected[1])
    assert float(found.weights.sum()) == pytest.approx(1.0)


def test_a_split_block_shows_places_times_times(clip, tiny, wrap):
    classifier = wrap(tiny("split"))
    block = classifier.model.blocks3[0]
    (found,) = relations(classifier, clip, ["blocks3.0"], (0.0, 5.0, 60.0), head=0)
    assert found.token == (0, 0, 3)
    watched = {"time": block.t_attn, "space": block.attn}
    given = inputs_of(classifier.model, watched, classifier.model_input(clip[None]))
    (over_time,), (over_space,) = given["time"], given["space"]
    places = softmax_row(block.attn, over_space[0], 3)[0]
    for place in range(16):
        times = softmax_row(block.t_attn, over_time[place], 0)[0]
        torch.testing.assert_close(found.weights.flatten(1)[:, place], places[place] * times)
    assert float(found.weights.sum()) == pytest.approx(1.0)


def test_weights_among_kept_tokens_go_back_to_their_places():
    weights = torch.tensor([0.1, 0.3, 0.2, 0.4])  # class token, two kept, the one for the rest
    kept, rest = torch.tensor([3, 0]), torch.tensor([0.0, 0.25, 0.75, 0.0])
    assert put_back(weights, kept, rest).tolist() == pytest.approx([0.1, 0.2, 0.1, 0.3, 0.3])


@pytest.mark.parametrize("name", ["blocks3.0", "blocks3.1"])
def test_a_light_block_shows_all_tokens_and_the_class_token(light, clip, name):
    block = light.model.blocks3[int(name[-1])]
    watched = {"rows": block.attn, "block": block}
    given = inputs_of(light.model, watched, light.model_input(clip[None]))
    rows = given["rows"][0][0]
    if name == "blocks3.0":  # keeps all: rows are the class token and the grid
        kept, order = set(range(32)), list(range(32))
    else:
        score = given["block"][1].score[0]
        order = score.argsort(descending=True)[:16].tolist()
        kept = set(order)
    for number in (0, 13, 31):
        place = (number // 16 * 2.0, number % 16 // 4 * 16 + 7.0, number % 4 * 16 + 7.0)
        (found,) = relations(light, clip, [name], place)
        query = 1 + order.index(number) if number in kept else 17
        row = softmax_row(block.attn, rows, query).mean(0)
        assert found.class_token == pytest.approx(float(row[0]), rel=1e-5)
        for at, token in enumerate(order):
            assert float(found.weights.flatten()[token]) == pytest.approx(float(row[1 + at]), rel=1e-4)
        assert float(found.weights.sum()) + found.class_token == pytest.approx(1.0, abs=1e-5)


def test_several_blocks_are_looked_at_in_one_pass(classifier, clip):
    passes = []
    hook = classifier.model.register_forward_hook(lambda *_: passes.append(1))
    first, last = relations(classifier, clip, ["blocks1.0", "blocks4.1"], (0.0, 0.0, 0.0))
    hook.remove()
    assert len(passes) == 1 and first.local and not last.local
    assert first.weights.shape == (2, 16, 16) and last.weights.shape == (2, 2, 2)


def test_unknown_heads_and_blocks_are_refused(classifier, clip):
    with pytest.raises(ValueError, match="blocks3.0 has no head 2: its heads are 0 to 1"):
        relations(classifier, clip, ["blocks3.0"], (0.0, 0.0, 0.0), head=2)
    with pytest.raises(ValueError, match="blocks1.0 has no head 8: its heads are 0 to 7"):
        relations(classifier, clip, ["blocks1.0"], (0.0, 0.0, 0.0), head=8)
    with pytest.raises(ValueError, match="no block 'blocks9.0'"):
        relations(classifier, clip, ["blocks9.0"], (0.0, 0.0, 0.0))
