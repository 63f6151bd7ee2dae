"""video_writer.py: what is written comes back, and what cannot be written is refused."""

import av
import numpy as np
import pytest

from slowfast.datasets.video_writer import set_display_rotation, write_video


def grey_steps(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """`count` flat frames whose grey level tells their number."""
    levels = np.linspace(20, 230, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def decode(path) -> tuple[np.ndarray, list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [frame.time for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264")],
)
def test_frames_come_back_in_order(tmp_path, name, codec):
    frames = grey_steps(12)
    write_video(tmp_path / name, frames, 12, codec=codec)
    decoded, times = decode(tmp_path / name)
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).max() <= 6
    assert times == pytest.approx(np.arange(12) / 12, abs=2e-3)


def test_b_frames_can_be_asked_for(tmp_path):
    moving = np.stack([np.roll(np.eye(32, 48, dtype=np.uint8) * 200, shift, axis=1) for shift in range(20)])
    frames = np.repeat(moving[..., None], 3, axis=3)
    write_video(tmp_path / "b.mp4", frames, 25, options={"bf": "2", "b-adapt": "0"})
    with av.open(str(tmp_path / "b.mp4")) as container:
        kinds = {av.video.frame.PictureType(frame.pict_type).name for frame in container.decode(video=0)}
    assert kinds == {"I", "P", "B"}


def test_given_times_make_a_variable_rate(tmp_path):
    times = [0.0, 0.04, 0.05, 0.2, 0.5]
    write_video(tmp_path / "vfr.mp4", grey_steps(5), 25, times_seconds=times)
    assert decode(tmp_path / "vfr.mp4")[1] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_display_rotation_is_marked(tmp_path, degrees):
    path = tmp_path / "turned.mp4"
    write_video(path, grey_steps(2), 10)
    set_display_rotation(path, degrees)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    # PyAV counts anticlockwise, -180..180.
    assert (-frame.rotation) % 360 == degrees


@pytest.mark.parametrize(
    ("frames", "arguments", "message"),
    [
        ([], {}, "no frames"),
        (np.zeros((2, 8, 8, 3), np.float32), {}, "must be uint8"),
        (np.zeros((2, 8, 8), np.uint8), {}, "must be uint8"),
        (np.zeros((2, 9, 8, 3), np.uint8), {}, "even sides, not 9x8"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"codec": "no-such"}, "no encoder named 'no-such'"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"fps": 0}, "fps must be above 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"times_seconds": [0.0]}, "one time for each frame"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"times_seconds": [0.0, 0.1, 0.2]}, "3 times for 2 frames"),
        (np.zeros((2, 8, 8, 3), np.uint8), {"times_seconds": [0.1, 0.1]}, "not a millisecond after"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], {}, "must be alike"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path, frames, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "x.mp4", frames, arguments.pop("fps", 10), **arguments)
    assert not (tmp_path / "x.mp4").exists()


def test_rotation_refusals(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, grey_steps(2), 10)
    with pytest.raises(ValueError, match="one of \\[90, 180, 270\\] degrees, not 45"):
        set_display_rotation(path, 45)
    (tmp_path / "not.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="found 0 track headers"):
        set_display_rotation(tmp_path / "not.mp4", 90)
