"""Files known to be bad: remembered over processes, known again by their stamp, forgotten when they change."""

import os
from functools import partial

import pytest

from slowfast.datasets import annotations
from slowfast.datasets.bad_files import FILE_NAME, BadFiles
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_cache import FrameCache
from slowfast.datasets.pipeline import EvalViews, empty_views
from slowfast.datasets.video_dataset import FrameFolders, VideoDataset, VideoFiles


@pytest.fixture
def dataset(tmp_path):
    """Entries a, b, a, c: b is empty, c is missing."""
    (tmp_path / "a.mp4").write_bytes(b"some bytes")
    (tmp_path / "b.mp4").touch()
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 1\na.mp4 2\nc.mp4 3\n")
    return make_dataset(
        annotations.read_list(tmp_path / "list.csv", num_classes=8, prefix=str(tmp_path)), VideoFiles()
    )


def make_dataset(table, open_media):
    return VideoDataset(
        table=table,
        sampler=ClipSampler(num_frames=4, sampling_rate=1, num_clips=1),
        make_views=EvalViews(32, 32, 1),
        views_per_video=1,
        empty_views=empty_views(4, 32),
        seed=1,
        open_media=open_media,
    )


def test_nothing_is_known_and_no_file_made_before_one_is_found(dataset, tmp_path):
    assert BadFiles(tmp_path / "run", dataset).known() == {}
    assert not (tmp_path / "run").exists()


def test_what_was_found_is_known_to_the_next_process_wherever_it_is_listed(dataset, tmp_path):
    files = BadFiles(tmp_path / "run", dataset)
    for index, reason in ((0, 'no frames, "none"'), (3, "no such file"), (0, "again")):
        files.add(index, reason)
    assert BadFiles(tmp_path / "run", dataset).known() == {
        0: 'no frames, "none"', 2: 'no frames, "none"', 3: "no such file",
    }  # fmt: skip
    lines = (tmp_path / "run" / FILE_NAME).read_text().splitlines()
    assert lines[0] == "path,frames,size,mtime_ns,reason" and len(lines) == 3
    assert lines[1].startswith("a.mp4,,10,") and lines[2] == "c.mp4,,-1,0,no such file"


def test_a_file_that_was_mended_or_has_come_is_read_again(dataset, tmp_path):
    files = BadFiles(tmp_path / "run", dataset)
    for index in (0, 1, 3):
        files.add(index, "bad")
    (tmp_path / "b.mp4").write_bytes(b"more")
    (tmp_path / "c.mp4").touch()
    os.utime(tmp_path / "a.mp4", ns=(1, 1))
    later = BadFiles(tmp_path / "run", dataset)
    assert later.known() == {}
    later.add(1, "still bad")
    assert BadFiles(tmp_path / "run", dataset).known() == {1: "still bad"}


def test_known_ones_are_not_written_again(dataset, tmp_path):
    BadFiles(tmp_path / "run", dataset).add(1, "empty file")
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    later = BadFiles(tmp_path / "run", dataset)
    later.known()
    later.add(1, "empty file")
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before


def test_folders_of_frames_count_with_their_number_of_frames(tmp_path):
    (tmp_path / "clip").mkdir()
    (tmp_path / "list.csv").write_text("clip 8 0\nclip 9 1\n")
    table = annotations.read_list(
        tmp_path / "list.csv", num_classes=8, prefix=str(tmp_path), frame_folders=True
    )
    cached = partial(FrameCache, short_side=8, max_bytes=0)
    dataset = make_dataset(table, cached(FrameFolders("{:05d}.jpg")))
    BadFiles(tmp_path, dataset).add(1, "no such image")
    assert BadFiles(tmp_path, dataset).known() == {1: "no such image"}
