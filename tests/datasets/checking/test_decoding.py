"""decoding.py and sources.py: what is good, damaged and bad, and for which reason."""

import os
import struct
import sys
import zlib
from functools import partial

import av
import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.checking.decoding import decode
from slowfast.datasets.checking.sources import GONE, FolderSource, LostSource, ShardSource, VideoSource
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.shards import open_index
from slowfast.utils.isolation import Limits, run_isolated

CLIP = ClipSampler(num_frames=4, sampling_rate=2, num_clips=1)


def verdict(path, *, whole=True, clips=CLIP):
    return decode(VideoSource(str(path)), clips=clips, whole=whole)


def write(path, content):
    path.write_bytes(content)
    return path


def of_size(path, width, height):
    """An AVI of 4 pictures of 64 x 32 in PNG, whose headers say another size."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "rgb24"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8))))
        container.mux(stream.encode())
    before, after = (header(*size) for size in ((64, 32), (width, height)))
    data = path.read_bytes()
    assert data.count(before) == 4
    return write(path, data.replace(before, after))


def header(width, height):
    """The first chunk of a PNG in 8 bits RGB, with its checksum."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return chunk + struct.pack(">I", zlib.crc32(chunk))


def sound_alone(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx")])
@pytest.mark.parametrize("length", [1, 3, 23])
def test_whole_videos_are_good_however_short(tmp_path, numbered, container, codec, length, whole):
    path = write(tmp_path / "a", numbered(container, codec, length))
    assert verdict(path, whole=whole) == ("good", "")


def test_a_rotated_video_of_uneven_times_is_good(tmp_path, numbered):
    turned = [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]
    data = numbered("mp4", "libx264", 6, display_matrix=turned, times=[0, 1, 2, 7, 9, 20])
    assert verdict(write(tmp_path / "a.mp4", data)) == ("good", "")


def test_each_defect_has_its_reason(tmp_path, numbered, cut_mp4):
    whole = numbered("mp4", "libx264", 4)
    assert verdict(write(tmp_path / "empty.mp4", b"")) == ("bad", "empty file")
    assert verdict(tmp_path / "none.mp4") == ("bad", "no such file")
    assert verdict(tmp_path) == ("bad", "a folder, not a video file")
    assert verdict(sound_alone(tmp_path / "sound.mp4")) == ("bad", "no video stream in the file")
    status, reason = verdict(write(tmp_path / "no_index.mp4", whole[: whole.index(b"moov")]))
    assert status == "bad" and reason.startswith("not a readable video")
    assert verdict(write(tmp_path / "cut.mp4", cut_mp4)) == (
        "damaged",
        "the header promises 40 frames, the file holds 25",
    )


def test_damage_that_no_middle_clip_meets_is_found_by_reading_all(tmp_path, numbered):
    data = bytearray(numbered("mp4", "mpeg4", 40, options={"g": "1"}))
    with av.open(str(write(tmp_path / "a.mp4", data))) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
    data[last.pos : last.pos + last.size] = bytes(last.size)
    write(tmp_path / "a.mp4", data)
    assert verdict(tmp_path / "a.mp4", whole=False) == ("good", "")
    status, reason = verdict(tmp_path / "a.mp4")
    assert status == "bad" and reason


def test_frames_come_as_many_at_a_time_as_a_clip_has():
    class Reader:
        num_frames, fps, damage, asked = 10, 25.0, "", []

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, frames):
            self.asked.append(frames.tolist())

    class Source:
        open = Reader

    assert decode(Source(), clips=CLIP, whole=True) == ("good", "")
    assert Reader.asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    Reader.asked.clear()
    assert decode(Source(), clips=CLIP, whole=False) == ("good", "")
    assert Reader.asked == [[1, 3, 5, 8]]  # 8 frames from (10 - 8) / 2, 7 / 3 apart


def test_a_clip_in_seconds_needs_a_rate(folder):
    source = FolderSource(str(folder), 9, "img_{:05d}.png")  # pictures tell no time
    assert decode(source, clips=ClipSampler(4, 2, 1, unit="seconds"), whole=True) == (
        "bad",
        "the file states no frame rate, which DATA.SAMPLING_UNIT seconds needs",
    )


def test_a_picture_of_65000_pixels_a_side_is_bad(tmp_path):
    status, reason = verdict(of_size(tmp_path / "a.avi", 65000, 65000))
    assert status == "bad" and "\n" not in reason


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_size_that_decoders_accept_runs_into_the_limit(tmp_path):
    bomb = VideoSource(str(of_size(tmp_path / "a.avi", 15000, 15000)))
    good = VideoSource(str(of_size(tmp_path / "b.avi", 64, 32)))
    function = partial(decode, clips=CLIP, whole=True)
    found = dict(run_isolated(function, [bomb, good], processes=1, limits=Limits(60, 0.2)))
    assert found[0].failure == "needs more than 0.2 GB of memory"
    assert found[1].value == ["good", ""]


# ----------------------------------------------------------------------------------------------------------
# Folders of frames and shards
# ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(1, 10):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(path / f"img_{number:05d}.png")
    return path


def folder_verdict(folder, num_frames=9, whole=True):
    source = FolderSource(str(folder), num_frames, "img_{:05d}.png")
    return decode(source, clips=CLIP, whole=whole)


def test_every_listed_picture_is_decoded(folder):
    assert folder_verdict(folder) == ("good", "")
    write(folder / "img_00006.png", b"no picture")
    assert folder_verdict(folder, whole=False) == ("good", "")  # its clip has pictures 1, 3, 5 and 8
    status, reason = folder_verdict(folder)
    assert status == "bad" and reason.startswith("img_00006.png cannot be decoded")
    assert folder_verdict(folder, num_frames=5) == ("good", "")


def test_pictures_that_are_missing_or_of_another_size_are_bad(folder):
    Image.new("RGB", (16, 24)).save(folder / "img_00009.png")  # not in the block of the first
    assert "frames of mixed size" in folder_verdict(folder)[1]
    assert folder_verdict(folder, num_frames=12)[1].startswith("img_00010.png is missing")
    assert folder_verdict(folder / "nowhere") == ("bad", "no such folder")


def test_a_picture_file_of_65000_pixels_a_side_is_bad(folder):
    data = (folder / "img_00003.png").read_bytes()
    assert header(32, 24) in data
    write(folder / "img_00003.png", data.replace(header(32, 24), header(65000, 65000)))
    status, reason = folder_verdict(folder)
    assert status == "bad" and reason.startswith("img_00003.png cannot be decoded")


def test_the_stamp_of_a_folder_follows_its_pictures(folder):
    source = FolderSource(str(folder), 9, "img_{:05d}.png")
    before = source.stamp()
    assert before == source.stamp() and before[0] == sum(path.stat().st_size for path in folder.iterdir())
    os.utime(folder / "img_00004.png", ns=(0, before[1] + 1))
    assert source.stamp() == (before[0], before[1] + 1)
    assert FolderSource(str(folder / "nowhere"), 9, "{}").stamp() == GONE


def test_videos_in_shards_are_read_where_they_lie(tmp_path, numbered, write_tar):
    videos = {"a.mp4": numbered("mp4", "libx264", 4), "b.mp4": b"", "c.mp4": b"none"}
    tar = write_tar(tmp_path / "0.tar", videos)
    index = open_index(str(tmp_path / "*.tar"))
    sources = [ShardSource(*index.locate(name)) for name in videos]
    verdicts = [decode(source, clips=CLIP, whole=True) for source in sources]
    assert verdicts[:2] == [("good", ""), ("bad", "empty file")] and verdicts[2][0] == "bad"
    assert sources[0].stamp() == (len(videos["a.mp4"]), tar.stat().st_mtime_ns)
    tar.unlink()
    assert "cannot be read" in decode(sources[0], clips=CLIP, whole=True)[1]


def test_what_is_nowhere_says_so():
    source = LostSource("no such member")
    assert decode(source, clips=CLIP, whole=True) == ("bad", "no such member")
    assert source.stamp() == VideoSource("/nowhere\0").stamp() == GONE
