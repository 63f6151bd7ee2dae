"""Classes of weights and of data, compared by name: same, another order, other classes, or nothing to compare."""

import pytest
import torch

from slowfast.models.class_names import compare, reorder


def test_the_same_names_in_one_order():
    match = compare(["Side kick", "ice_fishing"], ["side_kick", "Ice fishing"], 2)
    assert match.kind == "same" and match.order == ()


def test_another_order_gives_the_row_of_each_class_of_the_data():
    match = compare(["a", "b", "c", "d"], ["d", "b", "A", "c"], 4)
    assert match.kind == "reordered"
    assert match.order == (3, 1, 0, 2)
    assert "3 of them have another number, such as 'd', 3 in the weights and 0 in the data" in match.said


def test_other_classes_name_the_first_differences_and_count_the_rest():
    theirs = [f"t{number}" for number in range(8)]
    match = compare([*theirs, "shared"], ["shared", *theirs[1:3], "x3", "x4", "x5", "x6", "x7", "x8"], 9)
    assert match.kind == "other"
    assert "  0: 't0' in the weights, 'shared' in the data" in match.said
    assert "  3: 't3' in the weights, 'x3' in the data" in match.said
    assert "  1:" not in match.said  # t1 is a class on both sides
    assert match.said.endswith("and 2 more")


def test_another_number_of_classes_is_another_set():
    match = compare(["a", "b"], ["a", "b", "c"], 3)
    assert match.kind == "other" and "2: nothing in the weights, 'c' in the data" in match.said


def test_names_that_differ_in_punctuation_alone_are_told_apart():
    match = compare(["c", "c++"], ["c++", "c"], 2)
    assert match.kind == "reordered" and match.order == (1, 0)


def test_one_name_twice_is_refused_unless_nothing_is_to_be_compared():
    assert compare(["a", "a"], ["a", "a"], 2).kind == "same"
    with pytest.raises(ValueError, match="names of the data hold 'a' more than once"):
        compare(["a", "b"], ["a", "a"], 2)


@pytest.mark.parametrize(("theirs", "ours"), [(None, ["a"]), (["a"], None), (None, None)])
def test_without_names_nothing_is_compared_and_it_is_said(theirs, ours):
    match = compare(theirs, ours, 1)
    assert match.kind == "unknown"
    assert ("MODEL.CLASS_NAMES_PATH" in match.said) == (theirs is None)
    assert ("DATA.CLASS_NAMES_PATH" in match.said) == (ours is None)
    assert "alphabetical" not in match.said


@pytest.mark.parametrize(("number", "folder"), [(400, "k400"), (600, "k600")])
def test_the_order_of_published_kinetics_weights_is_named(number, folder):
    assert f"data_lists/{folder}/classes.txt" in compare(None, None, number).said


def test_rows_of_both_heads_are_put_in_order_and_nothing_else():
    weights = {
        "head.weight": torch.arange(6.0).view(3, 2),
        "head.bias": torch.tensor([0.0, 1.0, 2.0]),
        "head_cls.bias": torch.tensor([5.0, 6.0, 7.0]),
        "norm.weight": torch.tensor([1.0, 2.0, 3.0]),
    }
    ordered = reorder(weights, (2, 0, 1))
    assert ordered["head.weight"].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert ordered["head.bias"].tolist() == [2, 0, 1]
    assert ordered["head_cls.bias"].tolist() == [7, 5, 6]
    assert ordered["norm.weight"] is weights["norm.weight"]


def test_a_head_that_cannot_be_put_in_order_is_refused():
    with pytest.raises(ValueError, match="none of head.weight"):
        reorder({"fc.weight": torch.zeros(3, 2)}, (2, 0, 1))
    with pytest.raises(ValueError, match="head.bias has 1000 rows, but there are 3 class names"):
        reorder({"head.bias": torch.zeros(1000)}, (2, 0, 1))
