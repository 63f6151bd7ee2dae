"""conversion.py, extraction.py, transcoding.py: every frame comes out once, and a stopped conversion goes on."""

import json
import os
import shutil

import av
import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.frames import open_video
from slowfast.datasets.preparation import conversion
from slowfast.datasets.preparation.conversion import Result, convert
from slowfast.datasets.preparation.extraction import ExtractFrames, scaled_size
from slowfast.datasets.preparation.transcoding import Transcode

EXTRACT = ExtractFrames("img_{:05d}.jpg")


@pytest.fixture
def videos(tmp_path, numbered):
    """A folder with two good videos, a cut one and one that is none."""
    root = tmp_path / "videos"
    (root / "a").mkdir(parents=True)
    (root / "a" / "one.mp4").write_bytes(numbered("mp4", "libx264", 20))
    (root / "a" / "t.w.o.avi").write_bytes(numbered("avi", "mpeg4", 18))
    (root / "bad.mp4").write_bytes(b"no video at all")
    return root


def pictures(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def untouched(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}


def test_every_frame_is_written_in_order(videos, tmp_path, read_numbers):
    out = tmp_path / "frames"
    results = convert(videos, ["a/one.mp4", "a/t.w.o.avi", "bad.mp4"], out, EXTRACT, workers=1)
    assert results["a/one.mp4"] == Result("a/one", 20, made=True)
    assert results["a/t.w.o.avi"] == Result("a/t.w.o", 18, made=True)
    assert results["bad.mp4"].reason.startswith("not a readable video")
    assert sorted(os.listdir(out / "a" / "one")) == [f"img_{number:05d}.jpg" for number in range(1, 21)]
    assert read_numbers(pictures(out / "a" / "one")) == list(range(20))
    assert sorted(os.listdir(out)) == ["a", conversion.RECORD] and sorted(os.listdir(out / "a")) == [
        "one",
        "t.w.o",
    ]


def test_workers_make_the_same(videos, tmp_path):
    one = convert(videos, ["a/one.mp4", "a/t.w.o.avi"], tmp_path / "1", EXTRACT, workers=1)
    two = convert(videos, ["a/one.mp4", "a/t.w.o.avi"], tmp_path / "2", EXTRACT, workers=2)
    assert one == two
    assert (pictures(tmp_path / "1" / "a" / "one") == pictures(tmp_path / "2" / "a" / "one")).all()


def test_what_is_finished_stays_and_what_is_not_is_made_again(videos, tmp_path):
    out, paths = tmp_path / "frames", ["a/one.mp4", "a/t.w.o.avi"]
    convert(videos, paths, out, EXTRACT, workers=1)
    before = untouched(out / "a" / "one")
    (out / "a" / "t.w.o" / "img_00007.jpg").unlink()  # somebody lost a frame
    (out / "a" / ".one.tmp").mkdir()  # a process was killed
    with open(out / conversion.RECORD, "a") as file:
        file.write('{"target": "a/t')  # while it wrote
    results = convert(videos, paths, out, EXTRACT, workers=1)
    assert results == {"a/one.mp4": Result("a/one", 20), "a/t.w.o.avi": Result("a/t.w.o", 18, made=True)}
    assert untouched(out / "a" / "one") == before
    assert len(os.listdir(out / "a" / "t.w.o")) == 18
    assert not any(result.made for result in convert(videos, paths, out, EXTRACT, workers=1).values())


@pytest.mark.parametrize("content", [b"", b"cut off"])
def test_a_finished_folder_that_lost_bytes_is_made_again(videos, tmp_path, read_numbers, content):
    """As a power failure leaves it: all names are there, and some of the frames are empty or half."""
    out = tmp_path / "frames"
    convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)
    (out / "a" / "one" / "img_00020.jpg").write_bytes(content)
    assert convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)["a/one.mp4"] == Result(
        "a/one", 20, made=True
    )
    assert read_numbers(pictures(out / "a" / "one")) == list(range(20))
    assert not convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)["a/one.mp4"].made


def test_a_folder_without_a_record_of_its_end_is_made_again(videos, tmp_path):
    out = tmp_path / "frames"
    (out / "a" / "one").mkdir(parents=True)
    (out / "a" / "one" / "img_00001.jpg").write_bytes(b"half")
    assert convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)["a/one.mp4"].made
    assert len(pictures(out / "a" / "one")) == 20


def test_another_video_or_other_settings_are_noticed(videos, tmp_path, numbered):
    out = tmp_path / "frames"
    convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)
    smaller = ExtractFrames("img_{:05d}.jpg", short_side=16)
    assert convert(videos, ["a/one.mp4"], out, smaller, workers=1)["a/one.mp4"].made
    assert pictures(out / "a" / "one").shape == (20, 16, 32, 3)
    (videos / "a" / "one.mp4").write_bytes(numbered("mp4", "libx264", 9))
    assert convert(videos, ["a/one.mp4"], out, smaller, workers=1)["a/one.mp4"] == Result(
        "a/one", 9, made=True
    )


def test_a_video_that_went_bad_leaves_nothing_old_behind(videos, tmp_path):
    out = tmp_path / "frames"
    convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)
    (videos / "a" / "one.mp4").write_bytes(b"no video any more")
    assert convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)["a/one.mp4"].reason
    assert os.listdir(out / "a") == []


def test_a_damaged_video_is_read_as_far_as_it_goes(tmp_path, cut_mp4):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "cut.mp4").write_bytes(cut_mp4)
    result = convert(tmp_path / "v", ["cut.mp4"], tmp_path / "out", EXTRACT, workers=1)["cut.mp4"]
    with open_video(cut_mp4) as reader:
        with pytest.raises(ValueError):
            reader.read([39])
        assert result.num_frames == reader.num_frames == len(os.listdir(tmp_path / "out" / "cut"))
    assert "the header promises 40 frames" in result.damage
    assert json.loads((tmp_path / "out" / conversion.RECORD).read_text())["damage"] == result.damage


def test_two_videos_of_one_name_do_not_overwrite_each_other(videos, tmp_path):
    shutil.copy(videos / "a" / "t.w.o.avi", videos / "a" / "one.avi")
    results = convert(videos, ["a/one.avi", "a/one.mp4"], tmp_path / "out", EXTRACT, workers=1)
    assert results["a/one.avi"].num_frames == 18
    assert results["a/one.mp4"].reason == "a/one.avi has the same name without suffix, and is converted"


def test_folders_in_each_other_and_odd_settings_are_refused(videos):
    for out in (videos, videos / "frames", videos.parent):
        with pytest.raises(ValueError, match="lie in each other"):
            convert(videos, ["a/one.mp4"], out, EXTRACT, workers=1)
    with pytest.raises(ValueError, match="--workers is 0"):
        convert(videos, ["a/one.mp4"], videos.parent / "out", EXTRACT, workers=0)
    with pytest.raises(ValueError, match="--short-side is 8"):
        ExtractFrames("{}.jpg", short_side=8)
    with pytest.raises(ValueError, match="--gop is 0"):
        Transcode(gop=0)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((640, 480), 320, (427, 320)), ((480, 640), 320, (320, 427)), ((320, 240), 320, (320, 240)), ((9, 7), 0, (9, 7))],
)  # fmt: skip
def test_the_short_side_is_never_enlarged(size, short_side, expected):
    assert scaled_size(*size, short_side) == expected


def test_a_transcoded_video_keeps_frames_and_rate(videos, tmp_path, read_numbers):
    out = tmp_path / "small"
    results = convert(videos, ["a/one.mp4", "a/t.w.o.avi", "bad.mp4"], out, Transcode(gop=4), workers=1)
    assert results["a/t.w.o.avi"] == Result("a/t.w.o.mp4", 18, made=True)
    assert results["bad.mp4"].reason and not (out / "bad.mp4").exists()
    with open_video(out / "a" / "one.mp4") as reader:
        assert (reader.num_frames, reader.fps, reader.height, reader.width) == (20, 25.0, 32, 64)
        assert read_numbers(reader.read(range(20))) == list(range(20))
    with av.open(str(out / "a" / "one.mp4")) as container:
        keys = [
            packet.pts is not None and packet.is_keyframe
            for packet in container.demux(video=0)
            if packet.size
        ]
        assert container.streams.video[0].codec_context.name == "h264"
    assert sum(keys) >= 5
    again = convert(videos, ["a/one.mp4", "a/t.w.o.avi"], out, Transcode(gop=4), workers=1)
    assert not any(result.made for result in again.values())
    (out / "a" / "one.mp4").write_bytes(b"cut")
    assert convert(videos, ["a/one.mp4"], out, Transcode(gop=4), workers=1)["a/one.mp4"].made


def test_a_transcoded_video_has_the_asked_size_with_even_sides(tmp_path, encode):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "x.mp4").write_bytes(encode("mp4", "libx264", [np.zeros((60, 100, 3), np.uint8)] * 3))
    convert(tmp_path / "v", ["x.mp4"], tmp_path / "out", Transcode(short_side=32), workers=1)
    with open_video(tmp_path / "out" / "x.mp4") as reader:
        assert (reader.height, reader.width) == (32, 52)


def test_frames_that_do_not_come_back_are_told(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(Transcode, "count", lambda self, target: 19)
    result = convert(videos, ["a/one.mp4"], tmp_path / "out", Transcode(), workers=1)["a/one.mp4"]
    assert result.reason == "20 frames were written, 19 came back"
    assert os.listdir(tmp_path / "out" / "a") == []


def test_a_full_disk_ends_the_conversion_and_leaves_nothing_half(videos, tmp_path, monkeypatch):
    def save(self, path, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left"):
        convert(videos, ["a/one.mp4"], tmp_path / "out", EXTRACT, workers=1)
    assert os.listdir(tmp_path / "out" / "a") == []
