"""Features of lists and folders: the numbers of the model, with places and times, done once each."""

import csv
import shutil

import numpy as np
import pytest
import torch

import slowfast
from slowfast.cli import main
from slowfast.datasets import frames as frames_module
from slowfast.datasets import video_dataset
from slowfast.inference import extracting, features
from slowfast.inference.clip_features import Begin, decode, gather
from slowfast.inference.extracting import find_videos
from slowfast.inference.feature_shards import write_shard


@pytest.fixture(scope="module")
def classifier(trained_run):
    return slowfast.load(trained_run / "best.pyth", device="cpu")


@pytest.fixture
def command(trained_run, tmp_path, monkeypatch):
    """Runs extract on a list into a folder; its status. Device and threads are those of the test."""

    def call(videos, *options, out="out"):
        where = [trained_run / "best.pyth", videos, "--out", tmp_path / out, "--device", "cpu", "--jobs", "2"]
        return main(["extract", *map(str, [*where, *options])])

    return call


@pytest.fixture
def opened(monkeypatch):
    """Names of the videos that were opened."""
    names, original = [], video_dataset.VideoFiles.__call__
    monkeypatch.setattr(
        video_dataset.VideoFiles,
        "__call__",
        lambda self, table, index: names.append(table.name(index)) or original(self, table, index),
    )
    return names


def test_features_lead_to_the_logits_of_the_test(classifier, debug_data, command, tmp_path, opened):
    assert command(debug_data / "test.csv", "--media", debug_data, "--shard-size", "6") == 0
    found = features.read(tmp_path / "out")
    assert len(found) == 16 == len(opened) and len(found.shards) == 3 and not found.failures
    lines = (debug_data / "test.csv").read_text().splitlines()
    for video, line in zip(found, lines, strict=True):
        assert f"{video.name} {video.label}" == line
        assert video.features.shape == (2, 3, 16) and video.features.dtype == np.float32
        with torch.no_grad():
            logits = classifier.model.head(torch.from_numpy(video.features).flatten(0, 1)).mean(dim=0)
        torch.testing.assert_close(
            logits, classifier.predict(debug_data / video.name).logits, rtol=1e-4, atol=1e-5
        )
    assert found.settings["class_names"] == list(classifier.class_names)


def test_python_gives_what_the_command_writes(classifier, debug_data, command, tmp_path):
    options = [
        "--layer",
        "blocks3.0",
        "--dense",
        "--dtype",
        "float16",
        "--stride",
        "0.1",
        "--format",
        "parquet",
    ]
    shutil.copytree(debug_data / "clips" / "test", tmp_path / "videos")
    assert command(tmp_path / "videos", *options) == 0
    for video in features.read(tmp_path / "out"):
        expected = classifier.features(
            tmp_path / "videos" / video.name, "blocks3.0", dense=True, stride_seconds=0.1, dtype="float16"
        )
        assert video.label == "" and video.features.dtype == np.float16
        assert video.features.shape[1:] == (3, 2, 2, 2, 16)
        assert np.allclose(video.features, expected.features, atol=1e-2)
        assert np.array_equal(video.frames, expected.frames)
        assert np.allclose(video.end_seconds, expected.end_seconds)


def test_windows_cover_the_video_and_tell_their_times(classifier, debug_data):
    path = next((debug_data / "clips" / "test").rglob("*.mp4"))
    with frames_module.open_video(path) as reader:
        length, fps = reader.num_frames, reader.fps
    found = classifier.features(path, stride_seconds=2 / fps)  # clips of 4 frames spread over 12
    assert found.frames[:, 0].tolist() == [0, 2, 4] and found.frames[-1, -1] == length - 1 == 15
    assert np.allclose(found.start_seconds, found.frames[:, 0] / fps)
    assert np.allclose(found.end_seconds, (found.frames[:, -1] + 1) / fps)
    assert found.features.shape == (3, 3, 16)


def test_unreadable_videos_are_named_and_counted(debug_data, command, tmp_path, capsys):
    good = (debug_data / "test.csv").read_text().splitlines()[0]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text(f"{good}\n{tmp_path / 'broken.mp4'} 1\nnone.mp4 0\nnone.mp4 0\n")
    assert command(tmp_path / "list.csv", "--media", debug_data) == 1
    with open(tmp_path / "out" / "failures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(tmp_path / "broken.mp4"), "none.mp4", "none.mp4"]
    assert rows[1]["reason"] == "no such file" and "3 videos could not be read" in capsys.readouterr().out
    found = features.read(tmp_path / "out")
    assert len(found) == 1 and sorted(found.failures) == sorted({row["path"] for row in rows})


def test_it_goes_on_where_it_was_stopped(debug_data, command, tmp_path, opened, monkeypatch, capsys):
    videos, written = [debug_data / "test.csv", "--media", debug_data, "--shard-size", "6"], []

    def stop_at_ninth(path, shard):
        if len(written) == 9:
            raise KeyboardInterrupt
        written.append(path)
        write_shard(path, shard)

    monkeypatch.setattr(extracting, "write_shard", stop_at_ninth)
    assert command(*videos) == 130  # six videos, their shard, and two videos of the next
    with pytest.raises(ValueError, match="2 of 3 shards are missing"):
        features.read(tmp_path / "out")
    monkeypatch.setattr(extracting, "write_shard", write_shard)
    opened.clear()
    assert command(*videos) == 0
    assert len(opened) == 8 and "1 shard of 3 was there already" in capsys.readouterr().out
    assert len(features.read(tmp_path / "out")) == 16
    assert not (tmp_path / "out" / extracting.UNFINISHED).exists()
    opened.clear()
    assert command(*videos) == 0 and opened == []
    command(*videos, out="at once")
    for one, other in zip(features.read(tmp_path / "out"), features.read(tmp_path / "at once"), strict=True):
        assert one.name == other.name and np.array_equal(one.features, other.features)


def test_a_damaged_or_short_shard_is_made_again(debug_data, command, tmp_path, opened, capsys):
    videos = [debug_data / "test.csv", "--media", debug_data, "--shard-size", "8"]
    command(*videos)
    shards = sorted((tmp_path / "out").glob("shard-*"))
    shards[0].write_bytes(shards[0].read_bytes()[:1000])
    opened.clear()
    assert command(*videos) == 0 and len(opened) == 8
    assert "is no whole shard" in capsys.readouterr().out
    content = extracting.read_shard(shards[1])
    write_shard(shards[1], extracting.Shard(content.videos[:3], []))
    assert command(*videos) == 0 and "is about 3 videos, not 8: it is made again" in capsys.readouterr().out
    assert len(features.read(tmp_path / "out")) == 16


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layer", "blocks3.9"], "layer 'blocks3.9' is unknown in this model; near it are"),
        (["--layer", "blocks3"], "take blocks3.0"),
        (["--stride", "0"], "--stride 0: write seconds above 0"),
        (["--jobs", "0"], "--jobs 0: write 1 or more"),
        (["--shard-size", "0"], "--shard-size 0: write 1 video or more"),
        (["--stride", "1", "TEST.DATASET", "kinetics_sparse"], "leave the stride out"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_file_is_written(
    debug_data, command, tmp_path, options, said, capsys
):
    assert command(debug_data / "test.csv", "--media", debug_data, *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_features_is_left_as_it_is(debug_data, command, tmp_path, capsys):
    videos = [debug_data / "test.csv", "--media", debug_data]
    assert command(*videos) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert command(*videos, "--dtype", "float16") == 2
    assert "dtype float32 there, float16 here" in capsys.readouterr().err
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "features.json").unlink()
    assert command(*videos) == 2 and "give another --out" in capsys.readouterr().err


def test_folders_without_videos_and_prefixes_of_folders_are_refused(tmp_path, debug_data):
    with pytest.raises(ValueError, match="no video files in this folder"):
        find_videos(tmp_path, "", "")
    with pytest.raises(ValueError, match="--media is for lists"):
        find_videos(debug_data, "somewhere", "")
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_videos(tmp_path / "none.csv", "", "")


def test_a_video_that_ends_early_begins_anew_with_its_true_length(classifier):
    class Short:
        num_frames, fps, damage = 40, 10.0, ""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, indices):
            if max(indices) >= 20:
                self.num_frames = 20
                raise frames_module.EndOfVideo(20)
            return np.zeros((len(indices), 40, 40, 3), dtype=np.uint8)

    events = list(decode(classifier.views, Short, 0.5, 6))
    assert sum(isinstance(event, Begin) for event in events) == 2
    found = gather(events, classifier.layer_values)
    assert found.frames.max() < 20 and found.features.shape == (len(found.frames), 3, 16)


def test_values_that_a_dtype_cannot_hold_are_refused():
    video = Begin(np.zeros((1, 4), dtype=np.int64), np.zeros(1, dtype=np.int64), None)
    from slowfast.inference.clip_features import Batch

    batch = Batch([0], torch.zeros(1, 1, 4, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="too large for float16: write float32"):
        gather([video, batch], lambda clips: torch.full((1, 2), 1e6), dtype="float16")
    found = gather([video, batch], lambda clips: torch.full((1, 2), 1e6))
    assert found.features.shape == (1, 1, 2) and np.isnan(found.start_seconds).all()
