"""The benchmark of the loader: both formulations give the same views, and the table says what was measured."""

import json

import pytest

from slowfast import cli
from slowfast.benchmarking import loader as benchmark
from slowfast.benchmarking.command import RECIPE
from slowfast.benchmarking.turns import summary

SMALL = [
    "DATA.NUM_FRAMES",
    "4",
    "DATA.TRAIN_CROP_SIZE",
    "32",
    "DATA.TEST_CROP_SIZE",
    "32",
    "DATA.SAMPLING_RATE",
    "2",
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return benchmark.write_videos(
        tmp_path_factory.mktemp("videos"), count=2, num_frames=30, height=48, width=64
    )


def test_made_up_videos_are_what_they_are_said_to_be(videos):
    frames = benchmark.plain_frames(str(videos[0]))
    assert frames.shape == (30, 48, 64, 3)
    assert len({frame.tobytes() for frame in frames}) == 30


@pytest.mark.parametrize("views", ["1x1", "2x3"])
def test_test_views_lie_within_half_a_grey_level(videos, tmp_path, views):
    changes = [*SMALL, *benchmark.protocol(views)]
    dataset, stage = benchmark.open_dataset(videos, tmp_path, RECIPE, "test", changes)
    for index in range(2):
        apart = benchmark.compare(dataset, stage, False, 0, index)
        clips, crops = map(int, views.split("x"))
        assert len(apart) == clips * crops * 3 * 4 * 32 * 32
        assert apart[-1] <= 0.501


def test_training_copies_lie_within_half_a_grey_level_but_for_values_that_round_the_other_way(
    videos, tmp_path
):
    dataset, stage = benchmark.open_dataset(videos, tmp_path, RECIPE, "train", [*SMALL])
    for epoch in range(8):
        apart = benchmark.compare(dataset, stage, True, epoch, epoch % 2)
        assert (apart > 0.501).mean() < 0.02
        assert (apart > 3).mean() < 0.001


def test_the_table_holds_medians_quartiles_and_multiples():
    numbers = summary({"plain": [0.8, 0.4, 0.6], "ours": [0.2, 0.2, 0.1], "decode": [0.1, 0.1, 0.1]})
    line = benchmark.table({"test, 4x1 views": numbers}).splitlines()[2]
    assert line == "| test, 4x1 views | 600 (500-700) | 200 (150-200) | 4.0 | 100 (100-100) | 2.00 |"


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_command_prints_a_table_and_writes_json(split, videos, tmp_path, capsys):
    out = tmp_path / "loader.json"
    words = [split, "--rounds", "2", "--views", "1x3", "--out", str(out), "--videos", *map(str, videos)]
    assert cli.main(["benchmark", *words]) == 0
    name = "test, 1x3 views" if split == "test" else "train, uniformer_s16x4"
    assert f"| {name} |" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert set(written["measured"][split]["results"][name]) == {"plain", "ours", "decode"}
    assert {"hardware", "versions", "rounds"} <= set(written) and written["measured"][split]["threads"] == 1
