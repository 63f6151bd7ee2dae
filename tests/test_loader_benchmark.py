"""The benchmark of the loader: both formulations give the same views, and the table says what was measured."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("loader_benchmark", ROOT / "benchmarks" / "loader.py")
benchmark = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmark)

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
    dataset, stage = benchmark.open_dataset(videos, tmp_path, benchmark.RECIPE, "test", changes)
    for index in range(2):
        apart = benchmark.compare(dataset, stage, False, 0, index)
        clips, crops = map(int, views.split("x"))
        assert len(apart) == clips * crops * 3 * 4 * 32 * 32
        assert apart[-1] <= 0.501


def test_training_copies_lie_within_half_a_grey_level_but_for_values_that_round_the_other_way(
    videos, tmp_path
):
    dataset, stage = benchmark.open_dataset(videos, tmp_path, benchmark.RECIPE, "train", [*SMALL])
    for epoch in range(8):
        apart = benchmark.compare(dataset, stage, True, epoch, epoch % 2)
        assert (apart > 0.501).mean() < 0.02
        assert (apart > 3).mean() < 0.001


def test_every_way_has_its_turn_in_every_round():
    calls = []
    ways = {name: lambda number, name=name: calls.append((name, number)) for name in ("plain", "ours")}
    seconds = benchmark.take_turns(ways, 2)
    assert calls == [("plain", 0), ("ours", 0), ("plain", 1), ("ours", 1), ("plain", 2), ("ours", 2)]
    assert {name: len(times) for name, times in seconds.items()} == {"plain": 2, "ours": 2}


def test_medians_quartiles_and_multiples():
    numbers = benchmark.summary(
        {"plain": [0.8, 0.4, 0.6], "ours": [0.2, 0.2, 0.1], "decode": [0.1, 0.1, 0.1]}
    )
    assert numbers["plain"]["median_ms"] == pytest.approx(600)
    assert numbers["plain"]["quartiles_ms"] == pytest.approx([500, 700])
    assert numbers["ours"]["times_faster"] == pytest.approx(4)  # of 4, 2 and 6
    line = benchmark.table({"test, 4x1 views": numbers}).splitlines()[2]
    assert line == "| test, 4x1 views | 600 (500-700) | 200 (150-200) | 4.0 | 100 (100-100) | 2.00 |"


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_command_prints_a_table_and_writes_json(split, videos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "loader.json"
    words = [split, "--rounds", "2", "--views", "1x3", "--out", str(out), "--videos", *map(str, videos)]
    monkeypatch.setattr(sys, "argv", ["loader.py", *words])
    benchmark.main()
    name = "test, 1x3 views" if split == "test" else "train, uniformer_s16x4"
    assert f"| {name} |" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert set(written["results"][name]) == {"plain", "ours", "decode"}
    assert {"hardware", "versions", "threads", "rounds"} <= set(written)
