"""What is drawn into videos."""

import numpy as np
import pytest

from slowfast.datasets.frame_stream import open_stream
from slowfast.datasets.frames import open_video
from slowfast.datasets.video_writer import write_video
from slowfast.inference.overlay import Caption, check_suffix, draw, write_overlay


def test_the_bar_is_as_long_as_the_probability():
    grey = np.full((140, 200, 3), 100, np.uint8)
    for probability, length in ((0.0, 1), (0.5, 101), (1.0, 200)):
        drawn = draw(grey, Caption("wave", probability))
        bar = (drawn[-1] == (64, 196, 255)).all(axis=1)
        assert bar.sum() == length and bar[:length].all()
    assert np.array_equal(drawn[:120], grey[:120]) and (grey == 100).all()


def test_the_name_is_there_to_read():
    grey = np.full((140, 200, 3), 100, np.uint8)
    empty, wave, other = (draw(grey, Caption(name, 0.5)) for name in ("", "wave", "other"))
    assert not np.array_equal(wave, other)
    bright = [(picture[:-5, :100] > 200).sum() for picture in (empty, wave, other)]
    assert bright[0] == 0 and 30 < bright[1] and 30 < bright[2]


@pytest.mark.parametrize("size", [(48, 64), (49, 65), (9, 7), (2, 2), (720, 1280)])
def test_any_size_and_any_name_go(size):
    drawn = draw(np.zeros((*size, 3), np.uint8), Caption("a very long name of a class, " * 20, 0.123))
    assert drawn.shape == (size[0] // 2 * 2, size[1] // 2 * 2, 3)


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "a.avi", np.full((20, 60, 80, 3), 90, np.uint8), 10, codec="mpeg4")
    return tmp_path / "a.avi"


def test_a_written_video_has_the_same_frames_with_their_captions(video, tmp_path):
    out, seen = tmp_path / "new" / "out.mp4", []
    with open_stream(video) as stream:
        write_overlay(out, stream, lambda frame: Caption("x", frame / 20), lambda: seen.append(1))
    assert len(seen) == 20
    with open_video(out) as reader:
        assert reader.num_frames == 20 and reader.fps == 10
        frames = reader.read(range(20)).astype(int)
    bars = (frames[:, -1, :, 2] > 180).sum(axis=1)
    assert np.abs(bars - np.arange(20) / 20 * 80).max() <= 4
    assert np.abs(frames[:, :30] - 90).max() < 10
    assert [path.name for path in out.parent.iterdir()] == ["out.mp4"]


def test_what_fails_leaves_the_file_that_was_there(video, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"before")

    def caption(frame):
        if frame == 3:
            raise KeyboardInterrupt
        return Caption("x", 0.5)

    with open_stream(video) as stream, pytest.raises(KeyboardInterrupt):
        write_overlay(out, stream, caption)
    assert out.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 2


def test_a_name_that_is_no_video_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"its name must end in .mp4, .mkv, .mov, such as out.mp4"):
        check_suffix(tmp_path / "out.gif")
