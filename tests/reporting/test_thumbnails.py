"""Small pictures of videos, or why there is none."""

import base64
import io
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from slowfast.datasets.frames import EndOfVideo, UnreadableVideo, open_video
from slowfast.datasets.video_writer import write_video
from slowfast.reporting import thumbnails
from slowfast.reporting.thumbnails import Media, pictures


def image(picture):
    prefix = "data:image/jpeg;base64,"
    assert picture.uri.startswith(prefix)
    return Image.open(io.BytesIO(base64.b64decode(picture.uri.removeprefix(prefix))))


@pytest.fixture
def media(tmp_path):
    """Three parts of a video: red, green, blue; and one that is not there."""
    frames = np.zeros((12, 48, 64, 3), np.uint8)
    for part in range(3):
        frames[4 * part : 4 * part + 4, :, :, part] = 255
    write_video(tmp_path / "0.mp4", frames, 25)
    return Media(lambda index: open_video(tmp_path / f"{index}.mp4"), lambda index: f"{index}.mp4", None)


def test_three_frames_spread_over_the_video(media):
    (picture,) = pictures(media, [(0, "0.mp4")])
    found = image(picture)
    assert (found.size, found.size) == ((3 * 128, 96), (picture.width, picture.height))
    colours = np.array(found)[48, [64, 192, 320]]
    assert colours.argmax(axis=1).tolist() == [0, 1, 2] and colours.max(axis=1).min() > 150


def test_what_cannot_be_read_says_why(media):
    first, missing = pictures(media, [(0, "0.mp4"), (1, "1.mp4")])
    assert first.uri and not missing.uri and missing.why_not.startswith("cannot be read now: ")


def test_another_list_and_none(media):
    assert pictures(media, [(0, "renamed.mp4")])[0].why_not == "the list has changed since the test"
    assert pictures(None, [(0, "0.mp4")])[0].why_not == "the list of this test cannot be read here"


def test_no_video_is_opened_when_the_time_is_over(media):
    times = iter([0.0, 1.0, thumbnails.MAX_SECONDS + 1])
    one, other = pictures(media, [(0, "0.mp4"), (0, "0.mp4")], clock=lambda: next(times))
    assert one.uri and other.why_not == "not opened: the videos before took 10 seconds"


class Short:
    """Says that it is longer than it is, as often as it is told."""

    def __init__(self, lies):
        self.num_frames, self._lies = 30, lies

    def read(self, places):
        if self._lies:
            self._lies -= 1
            self.num_frames = 6
            raise EndOfVideo(6)
        self.places = places
        return np.zeros((len(places), 4, 4, 3), np.uint8)


def test_a_video_that_ends_early_is_read_as_far_as_it_goes():
    reader = Short(lies=1)
    assert thumbnails.read_spread(reader).shape == (3, 4, 4, 3) and reader.places == [1, 3, 5]
    with pytest.raises(UnreadableVideo, match="its length is not what its file says"):
        thumbnails.read_spread(Short(lies=2))
    media = Media(lambda index: nullcontext(Short(lies=2)), lambda index: "a", None)
    assert "its length" in pictures(media, [(0, "a")])[0].why_not
