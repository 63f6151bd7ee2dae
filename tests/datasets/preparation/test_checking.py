"""checking.py: a video that cannot be opened is named with its reason, whoever opened it."""

import pytest

from slowfast.datasets.preparation.checking import unreadable


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_videos_are_named_in_order(tmp_path, numbered, workers):
    (tmp_path / "good.mp4").write_bytes(numbered("mp4", "libx264", 4))
    (tmp_path / "none.mp4").write_bytes(b"no video at all")
    (tmp_path / "half.mp4").write_bytes(numbered("mp4", "libx264", 4)[:400])
    found = unreadable(tmp_path, ["none.mp4", "good.mp4", "half.mp4", "gone.mp4"], workers=workers)
    assert list(found) == ["none.mp4", "half.mp4", "gone.mp4"]
    assert found["none.mp4"].startswith("not a readable video")


def test_no_worker_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--workers is 0; write 1 or more"):
        unreadable(tmp_path, ["a.mp4"], workers=0)
