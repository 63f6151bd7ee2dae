"""checking.py: a video or frame folder that cannot be used, or is not whole, is named with its reason."""

import pytest
from PIL import Image

from slowfast.datasets.preparation.checking import Finding, check_frame_folders, check_videos
from slowfast.datasets.preparation.media import FrameFolder


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_videos_are_named_in_order(tmp_path, numbered, workers):
    (tmp_path / "good.mp4").write_bytes(numbered("mp4", "libx264", 4))
    (tmp_path / "none.mp4").write_bytes(b"no video at all")
    (tmp_path / "half.mp4").write_bytes(numbered("mp4", "libx264", 4)[:400])
    found = check_videos(tmp_path, ["none.mp4", "good.mp4", "half.mp4", "gone.mp4"], workers=workers)
    assert list(found) == ["none.mp4", "half.mp4", "gone.mp4"]
    assert found["none.mp4"].reason.startswith("not a readable video") and not found["none.mp4"].damage


def test_videos_that_are_cut_short_are_damaged_and_not_unreadable(tmp_path, numbered, cut_mp4):
    avi, webm = numbered("avi", "mpeg4", 40), numbered("webm", "libvpx-vp9", 40)
    (tmp_path / "whole.avi").write_bytes(avi)
    pictures, index = avi.index(b"movi"), avi.index(b"idx1")
    (tmp_path / "cut.avi").write_bytes(avi[: (pictures + index) // 2])
    (tmp_path / "cut.mp4").write_bytes(cut_mp4)
    (tmp_path / "whole.webm").write_bytes(webm)
    (tmp_path / "cut.webm").write_bytes(webm[: len(webm) // 2])
    paths = [f"{name}.{suffix}" for suffix in ("avi", "mp4", "webm") for name in ("whole", "cut")]
    found = check_videos(tmp_path, [path for path in paths if path != "whole.mp4"], workers=1)
    assert list(found) == ["cut.avi", "cut.mp4", "cut.webm"] and not any(one.reason for one in found.values())
    assert found["cut.avi"].damage.startswith("the header promises 40 frames, the file holds ")
    assert found["cut.mp4"].damage.startswith("the header promises 40 frames, the file holds ")
    assert found["cut.webm"].damage.startswith("the header promises 1.60 seconds, the file holds ")


@pytest.mark.parametrize("workers", [1, 2])
def test_frame_folders_that_cannot_be_used_are_named_in_order(tmp_path, workers):
    for name in ("mixed", "good", "empty"):
        (tmp_path / name).mkdir()
        for number in range(1, 8):
            Image.new("RGB", (24, 16), (number, 0, 0)).save(tmp_path / name / f"{number:02d}.jpg")
    Image.new("RGB", (16, 24)).save(tmp_path / "mixed" / "03.jpg")
    (tmp_path / "empty" / "06.jpg").write_bytes(b"")
    folders = {name: FrameFolder(7, "{:02d}.jpg") for name in ("mixed", "good", "empty", "gone")}
    found = check_frame_folders(tmp_path, list(folders), folders, workers=workers)
    mixed = (
        "frames of mixed size: 01.jpg is 24x16, 03.jpg is 16x24; extract the frames of a video in one size"
    )
    assert found == {
        "mixed": Finding(reason=mixed),
        "empty": Finding(reason="06.jpg cannot be decoded (empty file)"),
        "gone": Finding(reason="no such folder"),
    }
    assert list(found) == ["mixed", "empty", "gone"]


@pytest.mark.parametrize(
    ("check", "more"), [(check_videos, ()), (check_frame_folders, ({"a": FrameFolder(1)},))]
)
def test_no_worker_is_refused(tmp_path, check, more):
    with pytest.raises(ValueError, match="--workers is 0; write 1 or more"):
        check(tmp_path, ["a"], *more, workers=0)
