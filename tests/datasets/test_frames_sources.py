"""What frames.py reads from: sources, files that cannot be read, what it leaves behind, real clips."""

import csv
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from slowfast.datasets import frames
from slowfast.datasets.frames import EndOfVideo, UnreadableVideo, open_video


@pytest.fixture(scope="session")
def avi(numbered) -> bytes:
    return numbered("avi", "mpeg4", 40, options={"qscale": "2"})


@pytest.fixture(scope="session")
def media() -> Path:
    folder = os.environ.get("SLOWFAST_TEST_MEDIA")
    if not folder:
        pytest.skip("SLOWFAST_TEST_MEDIA is not set: real and malformed clips were not read")
    return Path(folder) / "clips"


def reason(source: object) -> str:
    with pytest.raises(UnreadableVideo) as caught:
        open_video(source).close()
    assert str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


# ---- sources


def test_path_bytes_and_file_object(tmp_path, avi, read_numbers):
    path = tmp_path / "10:30 müde, 5%.avi"
    path.write_bytes(avi)
    for source in (path, str(path), avi, memoryview(avi), io.BytesIO(avi)):
        with open_video(source) as reader:
            assert read_numbers(reader.read([7, 30])) == [7, 30]
    with open(path, "rb") as file:
        with open_video(file) as reader:
            assert read_numbers(reader.read([7])) == [7]
        assert not file.closed


def test_metadata_that_is_not_utf8(numbered, read_numbers):
    data = numbered("avi", "mpeg4", 5, metadata={"title": "Pippi XYZ"}).replace(b"XYZ", b"\xe5\xe4\xff")
    with pytest.raises(UnicodeDecodeError):
        av.open(io.BytesIO(data))
    with open_video(data) as reader:
        assert read_numbers(reader.read([4])) == [4]


def test_wrong_arguments(tmp_path, avi):
    (tmp_path / "list.txt").write_text("a b")
    with open(tmp_path / "list.txt") as file, pytest.raises(TypeError, match="'rb'"):
        open_video(file)
    with pytest.raises(ValueError, match="threads is -1"):
        open_video(avi, threads=-1)


# ---- files that cannot be read


def sound(cover: bool) -> bytes:
    """An audio file, with or without a cover picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=1, options={"strict": "unofficial"})
            picture.height, picture.width, picture.pix_fmt = 32, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(frame) + picture.encode())
        for start in range(0, 8192, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 8000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def test_what_is_no_video_file(tmp_path):
    for name in ("empty.mp4", "text.mp4", "text.txt"):
        (tmp_path / name).write_text("" if "empty" in name else "no pictures here\n" * 40)
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason(tmp_path / "missing.mp4") == "no such file"
    assert reason(tmp_path) == "a folder, not a video file"
    assert reason(tmp_path / "empty.mp4") == "empty file"
    assert reason(tmp_path / "pipe.mp4") == "not a regular file"
    assert reason(tmp_path / "text.txt") == "a text file, not a video"
    assert reason(tmp_path / "text.mp4") == "not a readable video (Invalid data found when processing input)"
    assert reason(tmp_path / "nul\0.mp4") == "the file cannot be opened (embedded null byte)"
    assert reason(tmp_path / "text.txt" / "a.mp4").startswith("the file cannot be opened (")
    assert reason(b"") == "empty file"
    assert reason(io.BytesIO()).startswith("not a readable video (")
    assert reason(np.random.default_rng(0).bytes(5000)).startswith("not a readable video (")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.mp4").chmod(0)
    assert "Permission denied" in reason(tmp_path / "a.mp4")


def test_sound_alone():
    assert reason(sound(cover=False)) == "no video stream in the file"
    assert reason(sound(cover=True)) == "no video stream in the file"


def test_no_frames_in_the_stream(avi):
    assert reason(avi[: avi.index(b"movi") + 4]) == "no frames in the video stream"


def test_first_frame_cannot_be_decoded(numbered):
    data = numbered("mp4", "libx264", 10)
    place = data.index(b"mdat") + 4
    with av.open(io.BytesIO(data)) as container:
        size = sum(packet.size for packet in container.demux(video=0))
    broken = data[:place] + b"\xff" * size + data[place + size :]
    assert reason(broken) == "unreadable after 0 frames (Invalid data found when processing input)"


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(EndOfVideo(7)))
    assert (error.num_frames, str(error)) == (7, "the video ends after 7 frames")
    assert str(pickle.loads(pickle.dumps(UnreadableVideo("empty file")))) == "empty file"


# ---- resources


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_no_file_handle_is_left_open(tmp_path, avi, cut_mp4):
    good, bad, short = tmp_path / "good.avi", tmp_path / "bad.mp4", tmp_path / "short.mp4"
    good.write_bytes(avi)
    bad.write_bytes(b"no video" * 100)
    short.write_bytes(cut_mp4)
    quiet = tmp_path / "sound.mp4"
    quiet.write_bytes(sound(cover=False))

    def round_trip() -> int:
        with open_video(good) as reader:
            reader.read([3])
        with open_video(short) as reader, pytest.raises(EndOfVideo):
            reader.read([39])
        for path in (bad, quiet, tmp_path / "missing.mp4"):
            with pytest.raises(UnreadableVideo):
                open_video(path)
        return len(os.listdir("/proc/self/fd"))

    assert round_trip() == [round_trip() for _ in range(50)][-1]


def test_nothing_is_printed(cut_mp4, capfd):
    with open_video(cut_mp4) as reader, pytest.raises(EndOfVideo):
        reader.read([39])
    reason(b"no video" * 100)
    assert capfd.readouterr() == ("", "")


def test_importing_is_quick_and_brings_no_torch():
    program = (
        "import sys, time\n"
        "import numpy\n"
        "start = time.process_time()\n"
        "import slowfast.datasets.frames\n"
        "print(time.process_time() - start, 'torch' in sys.modules)\n"
    )
    root = Path(frames.__file__).parents[2]
    runs = [
        subprocess.check_output([sys.executable, "-c", program], cwd=root, text=True).split()
        for _ in range(3)
    ]
    assert min(float(seconds) for seconds, _ in runs) < 0.3
    assert {torch for _, torch in runs} == {"False"}


# ---- real files


def test_real_clips(media):
    with open(media / "clips.csv") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        with open_video(media / row["file"]) as reader:
            found = (reader.num_frames, reader.height, reader.width, reader.damage)
            assert found == (int(row["frames"]), int(row["h"]), int(row["w"]), ""), row["file"]
            assert reader.fps == pytest.approx(float(row["fps"]), abs=0.01)


def test_real_clip_pixels(media):
    for name in (
        "torchvision/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
        "mmaction2/rawvideo_dataset/part_0.mp4",
    ):
        with av.open(str(media / name), metadata_errors="ignore") as container:
            whole = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        with open_video(media / name) as reader:
            assert np.array_equal(reader.read([20, 4, reader.num_frames - 1]), whole[[20, 4, -1]])


MALFORMED = {
    "audio_only.mp4": "no video stream in the file",
    "avi_named.mp4": 24,
    "corrupt_mdat.mp4": "unreadable after 0 frames (Invalid data found when processing input)",
    "corrupt_middle.avi": 9,
    "empty.mp4": "empty file",
    "no_frames.avi": "no frames in the video stream",
    "one_frame.mp4": 1,
    "random_bytes.mp4": "not a readable video (Invalid data found when processing input)",
    "text_as_video.mp4": "not a readable video (Invalid data found when processing input)",
    "three_frames.mp4": 3,
    "truncated.avi": 20,
    "truncated.mp4": "not a readable video (Invalid data found when processing input)",
    "zeroed_header.avi": "not a readable video (Invalid data found when processing input)",
}


def test_malformed_files(media):
    assert set(MALFORMED) == {path.name for path in (media / "malformed").iterdir()} - {"malformed.csv"}
    for name, expected in MALFORMED.items():
        if isinstance(expected, str):
            assert reason(media / "malformed" / name) == expected, name
            continue
        with open_video(media / "malformed" / name) as reader:
            assert reader.num_frames == expected, name
            assert len(reader.read(range(expected))) == expected
            promised = "the header promises 49 frames, the file holds"
            assert reader.damage == (f"{promised} {expected}" if expected in (9, 20) else ""), name
