"""`slowfast explain` from a checkpoint and a video alone to the files, in a line or two."""

import numpy as np
import pytest
from PIL import Image

from slowfast.cli import main
from slowfast.datasets.frames import open_video


@pytest.fixture
def given(trained_run, debug_data):
    """A checkpoint and a video, as words of a command."""
    video = debug_data / (debug_data / "test.csv").read_text().split()[0]
    return [str(trained_run / "best.pyth"), str(video)]


def test_a_video_is_explained(given, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", *given, "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "the video: " in told and "clip 2 of 2, crop 2 of 3, shown: " in told
    assert "map.png, relations.png, map.mp4, maps.npz" in told
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("_explained") and len(list(folder.iterdir())) == 4


def test_options_reach_what_they_name(given, tmp_path, capsys):
    words = ["--class", "grow", "--block", "blocks2.0", "--clip", "1", "--crop", "1", "--token", "3,20,20"]
    words += [
        "--relation",
        "blocks1.0",
        "--relation",
        "blocks4.0",
        "--head",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["explain", *given, *words, "--device", "cpu", "TEST.NUM_SPATIAL_CROPS", "1"]) == 0
    told = capsys.readouterr().out
    assert "clip 1 of 2, crop 1 of 1, shown: grow " in told and "map of blocks2.0, 2x4x4 tokens" in told
    held = np.load(tmp_path / "out" / "maps.npz")
    assert {"relation_blocks1.0", "relation_blocks4.0"} <= set(held)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--class", "growing"], "'growing' is none of the 8 classes of this model; near it are grow"),
        (["--block", "layer4"], "no block 'layer4'; it has blocks1.0, blocks2.0, blocks3.0, blocks4.0"),
        (["--clip", "3"], "clip is 3: of this video there are 1 to 2"),
        (["--token", "99,0,0"], "frame 99 is not in clip 2 of 2"),
        (["--head", "2"], "blocks3.0 has no head 2: its heads are 0 to 1"),
    ],
)
def test_mistakes_are_told_in_a_line(given, words, said, tmp_path, capsys):
    assert main(["explain", *given, *words, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_a_place_has_three_numbers(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", *given, "--token", "12,40"])
    assert stopped.value.code == 2
    assert (
        "'12,40' is no place; write frame number, row and column, such as 40,120,96"
        in capsys.readouterr().err
    )


def test_a_folder_of_frames_is_explained(given, tmp_path, capsys):
    with open_video(given[1]) as reader:
        for number, picture in enumerate(reader.read(range(reader.num_frames)), start=1):
            Image.fromarray(picture).save(tmp_path / f"img_{number:05d}.png")
    out = tmp_path / "out"
    assert main(["explain", *given, "--out", str(out / "video"), "--device", "cpu"]) == 0
    assert main(["explain", given[0], str(tmp_path), "--out", str(out / "frames"), "--device", "cpu"]) == 0
    video, frames = (np.load(out / name / "maps.npz") for name in ("video", "frames"))
    assert np.array_equal(video["map"], frames["map"]) and np.array_equal(video["crop"], frames["crop"])


def test_a_folder_is_no_video(given, tmp_path, capsys):
    assert main(["explain", given[0], str(tmp_path), "--device", "cpu"]) == 2
    assert "a folder, not a video file" in capsys.readouterr().err


def test_the_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    told = capsys.readouterr().out
    assert "example: slowfast explain " in told and "Grad-CAM" in told and "%(" not in told
