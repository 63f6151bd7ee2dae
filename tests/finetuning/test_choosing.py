"""Choices for data and device, each with its reason."""

import pytest

from slowfast.finetuning import choosing
from slowfast.finetuning.choosing import Start
from slowfast.finetuning.facts import DataFacts, sided

SCRATCH = Start("a small model", False, 2e-3, 80, 16, 2, False, True)
TRAINED = Start("best.pyth", True, 4e-4, 224, 8, 8, True, True)


def data(**changes):
    facts = dict(
        class_names=("run", "jump"),
        counts=(40, 50),
        frame_folders=False,
        short_side=240,
        num_frames=90,
        fps=30.0,
    )
    return DataFacts(**{**facts, **changes})


def test_clips_of_trained_weights_stay_as_they_are_on_a_gpu():
    chosen = choosing.choose_clips(data(), TRAINED, on_gpu=True)
    assert chosen.keys["DATA.TRAIN_CROP_SIZE"] == chosen.keys["DATA.TEST_CROP_SIZE"] == 224
    assert chosen.keys["TRAIN.DATASET"] == chosen.keys["TEST.DATASET"] == "kinetics"
    assert chosen.reasons == ("clips: 8 frames, as the weights were trained; 224 x 224 pixels",)


@pytest.mark.parametrize(
    ("facts", "on_gpu", "size", "why"),
    [
        ({}, False, 128, "smaller for the CPU"),
        ({"short_side": 100}, True, 96, "of videos"),
        ({"short_side": 20}, True, 32, ""),
    ],
)
def test_crops_are_smaller_on_a_cpu_and_no_larger_than_videos(facts, on_gpu, size, why):
    chosen = choosing.choose_clips(data(**facts), TRAINED, on_gpu)
    assert chosen.keys["DATA.TRAIN_CROP_SIZE"] == size and why in chosen.reasons[0]


@pytest.mark.parametrize(
    ("facts", "start", "name", "why"),
    [
        ({}, SCRATCH, "kinetics_sparse", "one action fills it"),
        ({"num_frames": 900}, SCRATCH, "kinetics", "consecutive"),
        ({"num_frames": 31}, TRAINED, "kinetics_sparse", "some 31 frames, a clip spans 64"),
        ({"num_frames": 31, "frame_folders": True, "fps": None}, TRAINED, "ssv2", "some 31 frames"),
        ({"frame_folders": True, "fps": None}, TRAINED, "hmdb51", "as the weights were trained"),
        ({"frame_folders": True, "fps": None}, SCRATCH, "ssv2", "one action fills it"),
    ],
)
def test_short_videos_are_seen_whole(facts, start, name, why):
    chosen = choosing.choose_clips(data(**facts), start, on_gpu=True)
    assert chosen.keys["TRAIN.DATASET"] == name and why in chosen.reasons[0]


def test_classes_that_a_mirror_exchanges_are_not_mirrored():
    names = ("swipe_Left", "swipe right", "stop", "leftover")
    assert sided(names) == ["swipe_Left", "swipe right"]
    chosen = choosing.choose_clips(data(class_names=names, counts=(9, 9, 9, 9)), TRAINED, True)
    assert (
        chosen.keys["DATA.RANDOM_FLIP"] is False and "'swipe_Left' tell left from right" in chosen.reasons[1]
    )
    assert "DATA.RANDOM_FLIP" not in choosing.choose_clips(data(), TRAINED, True).keys


@pytest.mark.parametrize(("base", "rate"), [(4e-4, 2e-4), (2e-3, 1e-3), (5e-5, 1e-4), (1e-1, 1e-3)])
def test_trained_weights_get_half_their_rate_within_limits_falling_by_layer(base, rate):
    start = Start("best.pyth", True, base, 224, 8, 8, True, True)
    keys = choosing.choose_solver(data(), start, ()).keys
    assert keys["SOLVER.BASE_LR"] == pytest.approx(rate) and keys["SOLVER.LAYER_DECAY"] == 0.75
    assert keys["SOLVER.COSINE_END_LR"] == pytest.approx(rate / 100) and keys["MODEL.NUM_CLASSES"] == 2


def test_a_model_that_does_not_know_its_layers_has_one_rate():
    start = Start("best.pyth", True, 4e-4, 224, 8, 8, True, True, layered=False)
    chosen = choosing.choose_solver(data(), start, ())
    assert chosen.keys["SOLVER.LAYER_DECAY"] == 1 and "a layer" not in chosen.reasons[0]


def test_from_scratch_the_rates_are_the_recipes():
    chosen = choosing.choose_solver(data(), SCRATCH, ())
    assert (
        not {"SOLVER.BASE_LR", "SOLVER.LAYER_DECAY"} & set(chosen.keys)
        and "from scratch" in chosen.reasons[0]
    )


def test_parts_that_are_frozen_are_named():
    chosen = choosing.choose_solver(data(), TRAINED, ("blocks1.*",))
    assert chosen.keys["MODEL.FREEZE"] == ["blocks1.*"] and "all but blocks1.* trained" in chosen.reasons[0]


@pytest.mark.parametrize(("counts", "balanced"), [((10, 30), False), ((10, 31), True), ((0, 30, 29), False)])
def test_classes_of_unlike_size_get_the_same_share(counts, balanced):
    names = tuple("abc"[: len(counts)])
    chosen = choosing.choose_solver(data(class_names=names, counts=counts), TRAINED, ())
    assert (chosen.keys.get("DATA.SAMPLER") == "balanced") == balanced
    assert ("10 to 31 videos" in chosen.reasons[-1]) == balanced


@pytest.mark.parametrize(("videos", "batch"), [(1000, 16), (60, 10), (5, 1)])
def test_a_step_is_small_where_videos_are_few(videos, batch):
    assert choosing.wanted_batch(videos) == batch


@pytest.mark.parametrize(
    ("videos", "batch", "passes", "trained", "asked", "epochs"),
    [
        (160, 16, 1, True, None, 60),
        (960, 16, 1, True, None, 10),
        (480, 4, 4, True, None, 20),
        (145, 16, 1, False, None, 80),
        (100, 16, 1, False, None, 120),
        (20, 3, 1, False, None, 120),
        (160, 16, 1, True, 7, 7),
    ],
)
def test_epochs_make_up_for_few_steps(videos, batch, passes, trained, asked, epochs):
    keys = choosing.choose_steps(videos, 30, batch, passes, trained, asked).keys
    assert keys["SOLVER.MAX_EPOCH"] == epochs and keys["TRAIN.BATCH_SIZE"] == batch
    assert keys["TRAIN.PATIENCE"] >= 5 and keys["SOLVER.WARMUP_EPOCHS"] < epochs
    assert (keys["TRAIN.EVAL_PERIOD"], keys["TEST.TEST_BEST"]) == (1, True)


@pytest.mark.parametrize(
    ("validated", "period", "said"),
    [
        (0, 0, "none of them validated"),
        (6, 1, "all of them: 6 videos to validate on would end training by chance"),
        (29, 1, "all of them: 29 videos to validate on would end training by chance"),
    ],
)
def test_few_validated_videos_neither_end_training_nor_choose_its_state(validated, period, said):
    """Of three classes of real clips, 15 to train on and 2 to validate on each, training ended after 61 of 120 epochs,
    and the state of the 31st had 43 % of the test; the last of all has 86 %."""
    choice = choosing.choose_steps(45, validated, 7, 1, False, None)
    keys = ("TRAIN.PATIENCE", "TRAIN.EVAL_PERIOD", "TEST.TEST_BEST", "SOLVER.MAX_EPOCH")
    assert [choice.keys[key] for key in keys] == [0, period, False, 120]
    assert choice.reasons[0].endswith(said)
