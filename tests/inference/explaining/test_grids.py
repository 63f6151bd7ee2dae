"""Tokens lie in a clip where the convolutions that made them look."""

import pytest
import torch

from slowfast.inference.explaining.blocks import grid_of
from slowfast.inference.explaining.grids import TokenGrid
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

GRID = TokenGrid((2, 3, 3), patch=16)


def test_a_token_stands_for_a_square_in_every_second_frame():
    assert GRID.box(0, 2) == (32, 0, 48, 16) and GRID.frame(1) == 2
    assert GRID.centre((1, 0, 2)) == (2.0, 8.0, 40.0)


@pytest.mark.parametrize(
    ("place", "token"),
    [((0, 0, 0), (0, 0, 0)), ((2, 15.9, 16), (1, 0, 1)), ((9, 99, -5), (1, 2, 0)), ((1, 31, 33), (1, 1, 2))],
)
def test_the_token_at_a_place(place, token):
    assert GRID.token_at(place) == token


def test_every_token_is_found_at_its_own_centre():
    for grid in (GRID, TokenGrid((2, 3, 3), 8, -1.5)):
        for token in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).tolist():
            assert grid.token_at(grid.centre(tuple(token))) == tuple(token)


def test_values_between_centres_are_linear_and_outermost_ones_last_to_the_border():
    values = torch.zeros(2, 2, 2)
    values[1, 0, 1] = 1.0
    pixels = TokenGrid((2, 2, 2), patch=4).to_pixels(values, (4, 8, 8))
    assert pixels.shape == (4, 8, 8)
    # Centres are at pixel 2 and 6 (edges), frame 0 and 2; pixel i is centred on i + 0.5.
    assert pixels[2, 0].tolist() == pytest.approx([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    assert pixels[:, 0, 7].tolist() == pytest.approx([0, 0.5, 1, 1])
    assert pixels[2, :, 7].tolist() == pytest.approx([1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0])


def test_unsmoothed_values_are_those_of_the_square():
    values = torch.arange(8.0).view(2, 2, 2)
    pixels = TokenGrid((2, 2, 2), patch=4).to_pixels(values, (4, 8, 8), smooth=False)
    assert torch.equal(pixels[0], values[0].repeat_interleave(4, 0).repeat_interleave(4, 1))
    assert torch.equal(pixels[2], pixels[3]) and torch.equal(pixels[2, ::4, ::4], values[1])


def test_one_token_covers_everything():
    assert torch.equal(
        TokenGrid((1, 1, 1), 32).to_pixels(torch.ones(1, 1, 1), (2, 4, 4)), torch.ones(2, 4, 4)
    )


@pytest.mark.parametrize("make", [Uniformer, UniformerLight])
def test_centres_are_where_the_stem_looks(make):
    """The gradient of one token of the first stage is spread evenly about its centre."""
    model = make(2, depth=(1, 1, 1, 1), embed_dim=(8, 8, 8, 8), head_dim=8)
    stem = model.patch_embed1
    convolutions = [module for module in stem.modules() if isinstance(module, torch.nn.Conv3d)]
    clip = torch.zeros(1, 7, 32, 32, 3, requires_grad=True)
    tokens = clip
    for convolution in convolutions:
        torch.nn.init.ones_(convolution.weight)
        tokens = convolution(tokens)
    tokens[0, 1, 3, 4].sum().backward()
    weight = clip.grad[0].sum(-1)
    weight = weight / weight.sum()
    grid = grid_of(model, "blocks1.0", tokens)
    middle = [
        (weight.sum(dim=other) * (torch.arange(length) + shift)).sum().item()
        for other, length, shift in (((1, 2), 7, 0.0), ((0, 2), 32, 0.5), ((0, 1), 32, 0.5))
    ]
    assert grid.centre((1, 3, 4)) == pytest.approx(middle, abs=1e-4)
    assert grid.shape == tuple(tokens.shape[1:4])
