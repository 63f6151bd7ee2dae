"""Blocks have the names of the weights, and the default is deep enough and fine enough."""

import pytest
import torch

from slowfast.inference.explaining.blocks import (
    block_named,
    blocks_of,
    default_block,
    inputs_of,
    last_of_stage,
)
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight


def test_names_are_those_of_the_weights(classifier):
    names = list(blocks_of(classifier.model))
    assert names == ["blocks1.0", "blocks2.0", "blocks3.0", "blocks3.1", "blocks4.0", "blocks4.1"]
    prefixes = {
        ".".join(key.split(".")[:2]) for key in classifier.model.state_dict() if key.startswith("blocks")
    }
    assert prefixes == set(names)
    assert block_named(classifier.model, "blocks3.1") is classifier.model.blocks3[1]
    assert last_of_stage(classifier.model, 3) == "blocks3.1"


def test_an_unknown_block_lists_the_known_ones(classifier):
    with pytest.raises(ValueError, match="no block 'blocks3.2'; it has blocks1.0, .*, blocks4.1"):
        block_named(classifier.model, "blocks3.2")


def test_another_kind_of_model_is_refused():
    with pytest.raises(ValueError, match="the model is a Linear; explained are UniFormers"):
        blocks_of(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("make", "side", "name"),
    [
        (Uniformer, 224, "blocks3.7"),
        (Uniformer, 256, "blocks4.2"),
        (UniformerLight, 128, "blocks3.7"),
        (Uniformer, 48, "blocks1.2"),
        (Uniformer, 96, "blocks2.3"),
        (Uniformer, 16, "blocks1.2"),
    ],
)
def test_the_default_is_the_deepest_block_with_eight_tokens_to_a_side(make, side, name):
    depth = (3, 4, 8, 3) if make is Uniformer else (2, 5, 8, 2)
    assert default_block(make(2, depth=depth, embed_dim=(8, 8, 8, 8), head_dim=8), side) == name


def test_what_modules_are_given_is_seen_once_and_hooks_go(classifier, clip):
    model = classifier.model
    clips = classifier.model_input(clip[None])
    given = inputs_of(model, {"third": model.blocks3[0]}, clips)
    assert given["third"][0].shape == (1, 2, 4, 4, 16)
    assert not model.blocks3[0]._forward_pre_hooks
