"""Unreadable training videos: named once, counted, and too many of them end the run."""

import logging

import pytest

from slowfast.datasets.video_dataset import ItemReport
from slowfast.engine.bad_videos import MIN_TRIED, BadVideos


@pytest.fixture
def account():
    return lambda fraction=0.5: BadVideos(
        lambda index: f"v{index}.mp4", fraction, logging.getLogger("slowfast.test")
    )


def bad(index, source):
    return ItemReport(index, source, ((index, "empty file"),))


def test_each_video_is_named_once(account, caplog):
    videos = account()
    with caplog.at_level("WARNING"):
        videos.add(
            [
                bad(3, 7),
                bad(3, 8),
                ItemReport(5, 5, (), "the header promises more"),
                ItemReport(5, 5, (), "the header promises more"),
            ]
        )
    assert videos.reasons == {3: "empty file"}
    assert [record.getMessage().count("v3.mp4: empty file") for record in caplog.records] == [1, 0]
    assert "v5.mp4: the header promises more" in caplog.records[1].getMessage()


def test_too_large_a_share_of_unreadable_videos_stops_the_run(account):
    videos = account(0.25)
    good = [ItemReport(index, index) for index in range(100, 100 + MIN_TRIED)]
    videos.add([bad(index, 100) for index in range(5)] + good)  # 5 of 25 tried
    with pytest.raises(
        ValueError, match=r"DATA.MAX_BAD_FRACTION = 0.25 .*\(\d of \d+ tried(.|\n)*v3.mp4: empty file"
    ):
        videos.add([bad(index, 100) for index in range(5, 9)])


def test_a_video_is_tried_once_however_often_it_is_read(account):
    videos = account(0.25)
    for _ in range(3):  # 2 of 20 tried: with repetitions counted, 4 of them would have to be bad
        videos.add([bad(0, 999_999), bad(1, 999_999), *(ItemReport(index, index) for index in range(2, 19))])
    with pytest.raises(ValueError, match=r"6 of 20 tried"):
        videos.add([bad(index, 2) for index in range(2, 6)])


def test_a_video_without_any_readable_replacement_stops_the_run(account):
    with pytest.raises(
        ValueError, match=r"every replacement(.|\n)*v1.mp4: empty file(.|\n)*v2.mp4: no such file"
    ):
        account(1.0).add([ItemReport(0, -1, ((1, "empty file"), (2, "no such file")))])
