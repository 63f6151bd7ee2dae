"""frame_stream.py: the frames of frames.py, one after the other, from files, pipes and folders."""

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from slowfast.datasets import frame_stream
from slowfast.datasets.frame_folders import open_frame_folder
from slowfast.datasets.frame_stream import FolderStream, is_file, open_stream
from slowfast.datasets.frames import UnreadableVideo, open_video


def pictures(stream) -> np.ndarray:
    return np.stack([frame.picture() for frame in stream])


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "libx264", {"bf": "2", "b-adapt": "0"}),
        ("avi", "mpeg4", {"qscale": "2"}),
        ("matroska", "libx264", {"bf": "2"}),
        ("webm", "libvpx-vp9", {}),
    ],
)
def test_frames_are_those_of_the_reader(numbered, read_numbers, container, codec, options):
    data = numbered(container, codec, 40, options=options)
    with open_video(data) as reader:
        expected = reader.read(range(40))
    with open_stream(data) as stream:
        assert stream.fps == 25 and stream.num_frames in (0, 40)
        frames = list(stream)
    assert [frame.number for frame in frames] == list(range(40))
    assert [frame.time_seconds for frame in frames] == pytest.approx(
        [number / 25 for number in range(40)], abs=1e-3
    )
    found = np.stack([frame.picture() for frame in frames])
    assert np.array_equal(found, expected) and read_numbers(found) == list(range(40))
    assert stream.num_frames == 40 and stream.damage == ""


def test_turned_video_comes_upright(encode, numbered_picture, read_numbers):
    turned = [np.ascontiguousarray(np.rot90(numbered_picture(number))) for number in range(4)]
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # by a quarter, clockwise
    data = encode("mp4", "libx264", turned, options={"qp": "10"}, display_matrix=matrix)
    with open_video(data) as reader, open_stream(data) as stream:
        found = pictures(stream)
        assert np.array_equal(found, reader.read(range(4))) and read_numbers(found) == [0, 1, 2, 3]
    assert found.flags["C_CONTIGUOUS"]


def test_no_picture_is_made_that_nobody_asks_for(numbered, monkeypatch):
    made = []
    convert = frame_stream.Pictures.__call__
    monkeypatch.setattr(
        frame_stream.Pictures, "__call__", lambda self, frame: made.append(frame) or convert(self, frame)
    )
    with open_stream(numbered("avi", "mpeg4", 10)) as stream:
        for frame in stream:
            if frame.number == 7:
                frame.picture()
    assert len(made) == 1


def test_paths_bytes_and_file_objects(tmp_path, numbered, read_numbers):
    data = numbered("avi", "mpeg4", 3, options={"qscale": "2"})
    path = tmp_path / "10:30 müde, 5%.avi"
    path.write_bytes(data)
    assert is_file(path) and not is_file(tmp_path) and not is_file(data) and not is_file(tmp_path / "none")
    for source in (path, str(path), data, io.BytesIO(data)):
        with open_stream(source) as stream:
            assert read_numbers(pictures(stream)) == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name there")
def test_a_pipe_is_read_as_it_comes(tmp_path, numbered, read_numbers):
    data = numbered("matroska", "libx264", 5, options={"qp": "10"})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True)
    writer.start()
    with open_stream(pipe) as stream:
        assert read_numbers(pictures(stream)) == list(range(5))
    writer.join()


def test_what_comes_before_damage_counts(cut_mp4):
    with open_video(cut_mp4) as reader:
        with pytest.raises(UnreadableVideo):
            reader.read([39])
        expected, damage = reader.num_frames, reader.damage
    with open_stream(cut_mp4) as stream:
        assert stream.num_frames == 40
        assert len(list(stream)) == expected == stream.num_frames
    assert stream.damage == f"the header promises 40 frames, the file holds {expected}"
    assert damage.startswith("the header promises 40 frames, the file holds")


def test_damage_is_what_the_reader_calls_it(numbered):
    fast = {"cpu-used": "8", "deadline": "realtime"}
    avi = numbered("avi", "mpeg4", 60, options={"qscale": "2"})
    webm = numbered("webm", "libvpx-vp9", 60, options=fast)
    for cut in (avi[: len(avi) * 3 // 4], webm[: len(webm) // 2]):
        with open_video(cut) as reader, open_stream(cut) as stream:
            assert 0 < len(list(stream)) == reader.num_frames < 48
            assert stream.damage == reader.damage != ""


def test_a_decoder_that_fails_ends_the_stream_with_its_reason(numbered, monkeypatch):
    data = numbered("avi", "mpeg4", 10)

    def decoded(self, real=frame_stream.FrameStream._decoded):
        for number, frame in enumerate(real(self)):
            if number == 6:
                raise OSError("the cable is out")
            yield frame

    monkeypatch.setattr(frame_stream.FrameStream, "_decoded", decoded)
    with open_stream(data) as stream:
        assert len(list(stream)) == 6
        assert stream.damage == "unreadable after 6 frames (the cable is out)" and stream.num_frames == 6


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty file"), (b"words\n" * 50, "not a readable video"), (None, "no such file")],
)
def test_what_cannot_be_opened_is_told_as_the_reader_does(tmp_path, content, said):
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    for opened in (open_stream, open_video):
        with pytest.raises(UnreadableVideo, match=said):
            opened(path)


def test_more_that_cannot_be_opened(tmp_path, numbered):
    with pytest.raises(UnreadableVideo, match="a folder, not a video file"):
        open_stream(tmp_path)
    with pytest.raises(UnreadableVideo, match="not a readable video"):
        open_stream("tcp://127.0.0.1:1")  # nobody listens there
    with pytest.raises(ValueError, match="no input format 'nonsense' here: leave it out, or write v4l2"):
        open_stream("camera", input_format="nonsense")


@pytest.fixture
def folder(tmp_path, numbered_picture):
    for number in range(6):
        Image.fromarray(numbered_picture(number)).save(tmp_path / f"img_{number + 1:05d}.png")
    return open_frame_folder(tmp_path, 6, "img_{:05d}.png")


def test_folders_of_frames_have_no_times(folder, read_numbers):
    with FolderStream(folder) as stream:
        assert stream.fps is None and stream.num_frames == 6
        frames = list(stream)
    assert [frame.time_seconds for frame in frames] == [None] * 6
    assert read_numbers(np.stack([frame.picture() for frame in frames])) == list(range(6))


def test_frames_of_mixed_size_are_refused(folder, tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "img_00004.png")
    with FolderStream(folder) as stream, pytest.raises(UnreadableVideo, match="mixed size"):
        pictures(stream)
