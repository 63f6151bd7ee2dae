"""Views of frames cut one by one are the views of whole clips."""

import numpy as np
import pytest
import torch
from PIL import Image

from slowfast.datasets import sampling
from slowfast.datasets.checking.sources import FolderSource, LostSource
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.pipeline import EvalViews
from slowfast.datasets.video_views import VideoViews, joined


@pytest.mark.parametrize("size", [(48, 40), (40, 40), (30, 64)])
@pytest.mark.parametrize("short_side", [0, 36])
@pytest.mark.parametrize(
    "make_views",
    [
        EvalViews(32, 24, 3),
        EvalViews(32, 32, 1, antialias=True),
        EvalViews(32, 24, 1, whole_frame=True),
    ],
)
def test_frame_by_frame_is_all_at_once(numbered, tmp_path, size, short_side, make_views):
    from slowfast.datasets.video_writer import write_video

    path = tmp_path / "a.avi"
    rng = np.random.default_rng(0)
    write_video(path, rng.integers(0, 256, (20, *size, 3), dtype=np.uint8), 25, codec="mpeg4")
    views = VideoViews(ClipSampler(4, 4, 3), make_views, short_side)
    expected, _ = views(path)
    with views.stream(path) as stream:
        frames = {frame.number: views.of_frame(frame.picture()) for frame in stream}
    clips, which = sampling.distinct_clips(views.sampler(20, 25.0, np.random.default_rng(0)))
    found = joined(frames, clips, which)
    assert torch.equal(found.clips, expected.clips)
    assert torch.equal(found.rows, expected.rows) and torch.equal(found.view_ids, expected.view_ids)


def test_a_folder_of_numbered_pictures_is_a_video(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(1, 13):
        picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{number:03d}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    views = VideoViews(ClipSampler(4, 3, 1), EvalViews(32, 24, 1))
    expected, _ = views(FolderSource(str(tmp_path), 12, "{:03d}.png"))
    for path in (tmp_path, str(tmp_path)):
        assert torch.equal(views(path)[0].clips, expected.clips)
        with views.stream(path) as stream:
            assert [frame.number for frame in stream] == list(range(12))
    (tmp_path / "007.png").unlink()
    with pytest.raises(UnreadableVideo, match="no frames of a video: picture 7 is missing"):
        views(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableVideo, match="a folder, not a video file, and without the numbered pictures"):
        views.stream(tmp_path / "empty")


def test_what_is_known_to_be_nowhere_says_so():
    views = VideoViews(ClipSampler(4, 4, 1), EvalViews(32, 24, 1))
    for use in (views, views.stream):
        with pytest.raises(UnreadableVideo, match="in no shard"):
            use(LostSource("in no shard"))
