"""Merging into the tree: what is set, forgotten and refused."""

import copy
import pickle

import pytest
import yacs.config

from slowfast.config import CfgNode, ConfigError, get_cfg
from slowfast.config.node import leaves


def refused(*pairs):
    with pytest.raises(ConfigError) as caught:
        get_cfg().merge_from_list(list(pairs))
    return caught.value.problems


def test_merging_is_tolerant_of_number_types():
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.WARMUP_EPOCHS", "5", "SOLVER.CLIP_GRADIENT", "1.5", "TRAIN.BATCH_SIZE", 8.0])
    assert (cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.CLIP_GRADIENT, cfg.TRAIN.BATCH_SIZE) == (5.0, 1.5, 8)


def test_an_unknown_key_is_named_with_the_nearest_one():
    assert refused("TRAIN.BATCHSIZE", "4") == [
        "command line: unknown key TRAIN.BATCHSIZE; did you mean TRAIN.BATCH_SIZE?"
    ]
    assert refused("TRIAN.BATCH_SIZE", "4") == [
        "command line: unknown key TRIAN.BATCH_SIZE; did you mean TRAIN.BATCH_SIZE or TEST.BATCH_SIZE?"
    ]
    assert refused("DATA.DEPTH", "1") == [
        "command line: unknown key DATA.DEPTH; did you mean UNIFORMER.DEPTH?"
    ]
    assert "defaults.py" in refused("QQQQ", "1")[0]


def test_a_key_below_a_key_or_a_value_for_a_section_is_refused():
    assert refused("TRAIN.BATCH_SIZE.MORE", "1") == [
        "command line: unknown key TRAIN.BATCH_SIZE.MORE; did you mean TRAIN.BATCH_SIZE?"
    ]
    assert refused("TRAIN", "1") == ["command line: TRAIN is a section with keys below, it cannot be '1'"]


def test_all_faults_of_a_recipe_come_at_once_and_nothing_is_set(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("NUM_GPUS: 4\nTRAIN:\n  BATCH_SIZE: many\n  COLOUR: 1\nMULTIGRID:\n  LONG_CYCLE: True\n")
    cfg = get_cfg()
    with pytest.raises(ConfigError) as caught:
        cfg.merge_from_file(path)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        f"{path}:{line}" for line in (3, 4, 6)
    ]
    assert "TRAIN.BATCH_SIZE must be a whole number, not 'many'" in caught.value.problems[0]
    assert cfg == get_cfg()


@pytest.mark.parametrize(
    ("key", "inert", "switched_on", "said"),
    [
        ("MULTIGRID.SHORT_CYCLE", "False", "True", "multigrid training"),
        ("DETECTION.ENABLE", False, True, "AVA"),
        ("MODEL.ACT_CHECKPOINT", "false", "true", "MODEL.USE_CHECKPOINT"),
        ("BN.NORM_TYPE", "batchnorm", "sync_batchnorm", "batch normalisation"),
        ("TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN", (), ("module.",), "renaming"),
        ("TRAIN.CHECKPOINT_TYPE", "pytorch", "caffe2", "caffe2"),
        ("UNIFORMER.REPRESENTATION_SIZE", None, "512", "before the head"),
    ],
)
def test_foreign_keys_are_inert_or_refused_in_one_line(key, inert, switched_on, said):
    cfg = get_cfg()
    cfg.merge_from_list([key, inert])
    assert cfg == get_cfg()
    (problem,) = refused(key, switched_on)
    assert problem.startswith(f"command line: {key} asks for ") and said in problem and "\n" not in problem
    assert "remove the key or write" in problem


@pytest.mark.parametrize(
    "key", ["RESNET.DEPTH", "MVIT.REV.ENABLE", "SLOWFAST.ALPHA", "DATA.TRAIN_PCA_EIGVAL"]
)
def test_sections_of_other_models_are_accepted_whatever_they_hold(key):
    cfg = get_cfg()
    cfg.merge_from_list([key, "[1, 2]"])
    assert cfg == get_cfg()


def test_empty_sections_are_accepted(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("TRAIN:\nDATA: {}\nMULTIGRID:\nNUM_GPUS: 2\n")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert cfg.NUM_GPUS == 2


def test_a_program_may_add_its_own_section(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("MINE:\n  WIDTH: 3.0\n  RATE: 1\n")
    cfg = get_cfg()
    cfg.MINE = CfgNode({"WIDTH": 4, "RATE": 0.5})
    cfg.merge_from_file(path)
    assert cfg.MINE == {"WIDTH": 3, "RATE": 1.0}


def test_another_tree_can_be_merged():
    other = yacs.config.CfgNode({"TRAIN": {"BATCH_SIZE": 4}, "RESNET": {"DEPTH": 50}})
    cfg = get_cfg()
    cfg.merge_from_other_cfg(other)
    assert cfg.TRAIN.BATCH_SIZE == 4


def test_a_frozen_tree_stays_as_it_is_and_travels():
    cfg = get_cfg()
    cfg.freeze()
    with pytest.raises(AttributeError, match="frozen"):
        cfg.merge_from_list(["NUM_GPUS", "2"])
    with pytest.raises(AttributeError):
        cfg.TRAIN.BATCH_SIZE = 3
    for twin in (pickle.loads(pickle.dumps(cfg)), copy.deepcopy(cfg)):
        assert twin == cfg and twin.is_frozen()


def test_leaves_are_all_keys_in_order():
    cfg = CfgNode({"A": 1, "B": {"C": [2], "D": {"E": ""}}})
    assert list(leaves(cfg)) == [("A", 1), ("B.C", [2]), ("B.D.E", "")]
