"""Every rule refuses what it should, alone and together with others, and says what to write."""

import pytest

from slowfast.config import ConfigError, get_cfg, resolve
from slowfast.config.checks import CHOICES, NOT_NEGATIVE, RULES, SHARES, check
from slowfast.config.node import leaves


def problems(*pairs):
    cfg = get_cfg()
    cfg.merge_from_list(list(pairs))
    return [problem for rule in RULES for problem in rule(cfg)]


def test_the_defaults_pass():
    assert problems() == []


def test_tables_name_keys_that_exist():
    known = {key for key, _ in leaves(get_cfg())}
    assert set(CHOICES) | set(NOT_NEGATIVE) | set(SHARES) <= known


MIX = ("MIXUP.ENABLE", "True", "MODEL.LOSS_FUNC", "soft_cross_entropy")
LIGHT = ("MODEL.MODEL_NAME", "Uniformer_light_fp32", "UNIFORMER.DEPTH", "[1, 1, 2, 1]")
HALVES = "[[], [], [1, 0.5], [0.5]]"
RULED = (*LIGHT, "UNIFORMER.PRUNE_RATIO", HALVES, "UNIFORMER.TRADE_OFF", HALVES)
STEPS = ("SOLVER.LR_POLICY", "steps_with_relative_lrs")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (("TRAIN.ENABLE", "False", "TEST.ENABLE", "False"), "nothing to do"),
        (("OUTPUT_DIR", ""), "OUTPUT_DIR is empty"),
        (("NUM_SHARDS", "2", "SHARD_ID", "2"), "SHARD_ID is 2; with NUM_SHARDS 2 it is 0 to 1"),
        (("NUM_GPUS", "8", "TRAIN.BATCH_SIZE", "36"), "TRAIN.BATCH_SIZE 36 is not a multiple of NUM_GPUS 8"),
        (("NUM_GPUS", "3", "TRAIN.BATCH_SIZE", "3"), "TEST.BATCH_SIZE 8 .* write one, such as 9"),
        (("SOLVER.LAYER_DECAY", "0"), "SOLVER.LAYER_DECAY is 0; it must be above 0, to 1"),
        (("SOLVER.LAYER_DECAY", "1.1"), "SOLVER.LAYER_DECAY is 1.1;"),
        (("DATA.SAMPLER", "fair"), "DATA.SAMPLER is 'fair'; allowed: 'uniform', 'balanced'"),
        (
            ("DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit", "MODEL.CLASS_WEIGHTS", "balanced"),
            "MODEL.CLASS_WEIGHTS balanced needs one class for each video",
        ),
        (("NUM_GPUS", "-1"), "NUM_GPUS is -1; it must be 0 or more"),
        (("SOLVER.MAX_EPOCH", "0"), "SOLVER.MAX_EPOCH is 0; it must be 1 or more"),
        (("AUG.RE_PROB", "1.5"), "AUG.RE_PROB is 1.5; it must be from 0 to 1"),
        (("UNIFORMER.DROP_DEPTH_RATE", "1"), "from 0 to below 1"),
        (("TEST.NUM_SPATIAL_CROPS", "2"), "TEST.NUM_SPATIAL_CROPS is 2; allowed: 1, 3"),
        (("TEST.NUM_ENSEMBLE_VIEWS", "-1"), "NUM_ENSEMBLE_VIEWS is -1; it must be 1 or more"),
        (("DATA.ENSEMBLE_METHOD", "mean"), "allowed: 'sum', 'softmax', 'max'"),
        (("TRAIN.MIXED_PRECISION", "fp64"), "allowed: 'auto', 'bf16', 'fp16', 'off'"),
        (("SOLVER.OPTIMIZING_METHOD", "mt_adamw"), "allowed: 'sgd', 'adam', 'adamw'"),
        (("MODEL.LOSS_FUNC", "bce"), "'bce_logit'"),
        (("TRAIN.RESUME", "a.pyth", "TRAIN.INIT", "b.pyth"), "give one of them"),
        (("TRAIN.RESUME_ALLOW", "['list', 'data', 'classes']"), "has classes, data; it may hold batch and list"),
        (("TRAIN.CHECKPOINT_SECONDS", "-1"), "TRAIN.CHECKPOINT_SECONDS is -1.0; it must be 0 or more"),
        (("TRAIN.CHECKPOINT_STEPS", "-1"), "TRAIN.CHECKPOINT_STEPS is -1; it must be 0 or more"),
        (("TRAIN.RESUME", "auto", "TRAIN.AUTO_RESUME", "False"), "contradicts AUTO_RESUME False"),
        (("TRAIN.CHECKPOINT_FILE_PATH", "a.pyth", "TRAIN.RESUME", "b.pyth"), "another name for TRAIN.RESUME"),
        (("TRAIN.EVAL_PERIOD", "-1"), "TRAIN.EVAL_PERIOD is -1; it must be 0 or more"),
        (
            ("TRAIN.EVAL_PERIOD", "0", "TEST.TEST_BEST", "True"),
            "no validation finds it: write TEST.TEST_BEST False",
        ),
        (("DATA.TARGET_FPS", "0"), "DATA.TARGET_FPS is 0"),
        (("DATA.INPUT_CHANNEL_NUM", "[3, 3]"), r"one pathway: write \[3\]"),
        (("DATA.MEAN", "[0.45]"), "one number for each of the 3 channels"),
        (("DATA.STD", "[0.2, 0, 0.2]"), "above 0"),
        (("DATA.TEST_SCALE", "224"), "DATA.TEST_SCALE 224 is below DATA.TEST_CROP_SIZE 256"),
        (("DATA.TRAIN_JITTER_SCALES", "[320, 256]"), "0 < low <= high"),
        (("DATA.TRAIN_JITTER_SCALES_RELATIVE", "[0.08, 1.0]"), "SCALES_RELATIVE needs TRAIN_JITTER_ASPECT"),
        (("DATA.TRAIN_JITTER_ASPECT_RELATIVE", "[0.75, 1.3]"), "ASPECT_RELATIVE needs TRAIN_JITTER_SCALES"),
        (("DATA.TRAIN_JITTER_MOTION_SHIFT", "True"), "MOTION_SHIFT needs"),
        (("AUG.NUM_SAMPLE", "2"), "AUG.NUM_SAMPLE 2 needs AUG.ENABLE True"),
        (("AUG.FUSED", "True", "DATA.ANTIALIAS", "True"), "write AUG.FUSED False, or DATA.ANTIALIAS False"),
        (("AUG.BACKGROUND_PROB", "0.5"), "AUG.BACKGROUND_PROB 0.5 needs AUG.ENABLE True"),
        (("DATA.TEST_WHOLE_FRAME", "True"), "NUM_SPATIAL_CROPS is 3, but with DATA.TEST_WHOLE_FRAME"),
        (("MIXUP.ENABLE", "True"), "needs MODEL.LOSS_FUNC soft_cross_entropy, not cross_entropy"),
        ((*MIX, "MIXUP.ALPHA", "0", "MIXUP.CUTMIX_ALPHA", "0"), "both 0"),
        (("DATA.MULTI_LABEL", "True"), "does not fit MODEL.LOSS_FUNC cross_entropy"),
        (("MODEL.LOSS_FUNC", "bce_logit"), "DATA.MULTI_LABEL False does not fit"),
        (("SOLVER.BASE_LR", "0", "SOLVER.COSINE_END_LR", "0"), "SOLVER.BASE_LR is 0"),
        (("SOLVER.COSINE_END_LR", "0.1"), "COSINE_END_LR 0.1 must be below SOLVER.BASE_LR 0.1"),
        (("SOLVER.WARMUP_EPOCHS", "301"), "WARMUP_EPOCHS 301 must be below MAX_EPOCH 300"),
        (("SOLVER.WARMUP_EPOCHS", "300", "SOLVER.COSINE_AFTER_WARMUP", "True"), "must be below MAX_EPOCH"),
        (STEPS, "must start with 0"),
        ((*STEPS, "SOLVER.STEPS", "[10, 20]", "SOLVER.LRS", "[1, 0.1]"), "must start with 0"),
        ((*STEPS, "SOLVER.STEPS", "[0, 20, 10]", "SOLVER.LRS", "[1, 0.1, 0.01]"), "and rise"),
        ((*STEPS, "SOLVER.STEPS", "[0, 20]", "SOLVER.LRS", "[1]"), "SOLVER.LRS has 1 entries, STEPS 2"),
        (("SOLVER.BETAS", "[0.9, 1]"), "SOLVER.BETAS"),
        (("SOLVER.MOMENTUM", "0"), "SOLVER.NESTEROV needs MOMENTUM"),
        (("SOLVER.CLIP_GRADIENT", "0"), "SOLVER.CLIP_GRADIENT 0 would wipe out all gradients"),
        (("SOLVER.CLIP_GRAD_VAL", "1", "SOLVER.CLIP_GRAD_L2NORM", "1"), "two ways to clip"),
        (("MODEL.USE_CHECKPOINT", "True", "MODEL.CHECKPOINT_NUM", "[0, 0, 4]"), "four numbers"),
        (("MODEL.CHECKPOINT", "list", "MODEL.CHECKPOINT_NUM", "[0, 0, -1, 0]"), "four numbers, 0 or more"),
        (
            ("MODEL.CHECKPOINT", "list"),
            r"CHECKPOINT_NUM \[0, 0, 0, 0\] says, which is nothing: write numbers",
        ),
        (
            ("MODEL.CHECKPOINT", "none", "MODEL.USE_CHECKPOINT", "True"),
            "CHECKPOINT none contradicts USE_CHECKPOINT True: write USE_CHECKPOINT False",
        ),
        (("MODEL.CHECKPOINT_GB", "8"), "CHECKPOINT_GB 8 is for MODEL.CHECKPOINT auto, not '': write auto"),
        (
            ("MODEL.CHECKPOINT", "auto", "MODEL.CHECKPOINT_GB", "-1"),
            "CHECKPOINT_GB is -1.0; it must be 0 or more",
        ),
        (("MODEL.CHECKPOINT", "some"), "MODEL.CHECKPOINT is 'some'; allowed: '', 'none', 'list', 'auto'"),
        (("UNIFORMER.DEPTH", "[1, 2, 3]"), "UNIFORMER.DEPTH is .* four numbers"),
        (("UNIFORMER.MLP_RATIO", "[4, 4]"), "four of them"),
        ((*RULED, "UNIFORMER.SPLIT", "True"), "SPLIT True is not for MODEL.MODEL_NAME Uniformer_light_fp32"),
        (
            (*RULED, "UNIFORMER.PRUNE_RATIO", "[[], [], [1], [0.5]]"),
            r"PRUNE_RATIO is \[\[\], \[\], \[1.0\], \[0.5\]\]; .*write \[\[\], \[\], \[1, 0.5\], \[0.5\]\]",
        ),
        ((*RULED, "UNIFORMER.TRADE_OFF", "[[1], [], [1, 0.5], [0.5]]"), "TRADE_OFF is .* two empty lists"),
        ((*RULED, "UNIFORMER.TRADE_OFF", "[[], [], [1, 0.5], [1.5]]"), "TRADE_OFF is .* must be from 0 to 1"),
        (
            (*RULED, "UNIFORMER.PRUNE_RATIO", "[[], [], [1, 0], [1]]"),
            "PRUNE_RATIO is .* must be above 0, to 1",
        ),
        (
            (*RULED, "UNIFORMER.PRUNE_RATIO", "[[], [], [0.5, 1], [1]]"),
            "starts stage 3 with 0.5; it must be 1",
        ),
        (("UNIFORMER.HEAD_DIM", "48"), r"HEAD_DIM 48 must divide .* \[320, 512\]"),
    ],
)
def test_a_broken_rule_is_told_in_one_line(pairs, said):
    found = problems(*pairs)
    assert len(found) == 1, found
    assert "\n" not in found[0]
    with pytest.raises(ConfigError, match=said):
        cfg = get_cfg()
        cfg.merge_from_list(list(pairs))
        check(cfg)


def test_mixup_does_not_go_with_several_labels():
    found = problems("MIXUP.ENABLE", "True", "DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit")
    assert found == [
        "MIXUP.ENABLE mixes single labels and cannot go with DATA.MULTI_LABEL: set one of them to False"
    ]


def test_averaged_probabilities_do_not_go_with_several_labels():
    pairs = ("DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit", "DATA.ENSEMBLE_METHOD", "softmax")
    assert len(problems(*pairs)) == 1


@pytest.mark.parametrize(
    "pairs",
    [
        ("NUM_GPUS", "0", "TRAIN.BATCH_SIZE", "3"),
        ("SOLVER.CLIP_GRADIENT", "null"),
        ("UNIFORMER.HEAD_DIM", "48", "MODEL.MODEL_NAME", "MyModel"),
        RULED,
        (*RULED, "UNIFORMER.PRUNE_RATIO", "[[], [], [1, 1], [0.25]]"),
        ("UNIFORMER.PRUNE_RATIO", "[]"),
        ("TRAIN.RESUME", "auto", "TRAIN.INIT", "b.pyth"),
        ("TRAIN.RESUME_ALLOW", "['list', 'batch']", "TRAIN.CHECKPOINT_SECONDS", "0"),
        ("TRAIN.EVAL_PERIOD", "0"),
        ("TRAIN.EVAL_PERIOD", "0", "TEST.TEST_BEST", "True", "TRAIN.ENABLE", "False"),
        ("DATA.MULTI_LABEL", "True", "TRAIN.ENABLE", "False"),
        (*STEPS, "SOLVER.STEPS", "[0, 20.5]", "SOLVER.LRS", "[1, 0.1]", "SOLVER.COSINE_END_LR", "1"),
        (*MIX, "MIXUP.ALPHA", "0", "MIXUP.CUTMIX_ALPHA", "0", "MIXUP.PROB", "0"),
    ],
)
def test_what_is_sensible_passes(pairs):
    found = [problem for problem in problems(*pairs) if "nccl" not in problem]
    assert found == []


def test_all_broken_rules_are_reported_together():
    cfg = get_cfg()
    cfg.merge_from_list(["AUG.NUM_SAMPLE", 2, "SOLVER.CLIP_GRADIENT", 0, "TEST.NUM_SPATIAL_CROPS", 2])
    with pytest.raises(ConfigError) as caught:
        resolve(cfg)
    assert len(caught.value.problems) == 3
    message = str(caught.value)
    assert message.startswith("3 problems in the configuration:")
    for key in ("AUG.NUM_SAMPLE", "SOLVER.CLIP_GRADIENT", "TEST.NUM_SPATIAL_CROPS"):
        assert key in message
