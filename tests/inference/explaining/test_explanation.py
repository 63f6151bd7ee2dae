"""What is explained is a view that the test makes, and what its class is; places are those of the video."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.video_writer import write_video
from slowfast.inference.explaining.explanation import choose_view, explained, place_in, read_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """20 frames of 96x128 at 10 a second; wider than high."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_video(path, rng.integers(0, 256, (20, 96, 128, 3), dtype=np.uint8), 10)
    return path


def test_the_middle_view_is_one_of_those_of_a_test(classifier, video):
    clips = read_video(classifier, video)
    expected, damage = classifier.views(video)
    assert torch.equal(clips.views.clips, expected.clips) and torch.equal(clips.views.rows, expected.rows)
    assert clips.damage == damage == "" and clips.fps == pytest.approx(10)
    view = choose_view(clips, None, None)
    assert view.name == "clip 2 of 3, crop 2 of 3"
    assert torch.equal(view.pixels, expected.clips[expected.rows[4]])
    assert (
        view.frame_numbers.tolist()
        == classifier.views.sampler(20, 10.0, np.random.default_rng(0))[1].tolist()
    )
    assert view.times_seconds == pytest.approx(view.frame_numbers / 10)


def test_crops_show_the_part_of_the_video_that_they_say(classifier, video):
    clips = read_video(classifier, video)
    # 96x128 becomes 64x85, of which 64 columns from 0, 11 and 21 are shown.
    wide = 128 / 85
    expected = [(0, 0 * wide, 96, 64 * wide), (0, 11 * wide, 96, 64 * wide), (0, 21 * wide, 96, 64 * wide)]
    assert np.array(clips.crops) == pytest.approx(np.array(expected))


def test_what_is_asked_for_must_be_there(classifier, video):
    clips = read_video(classifier, video)
    assert choose_view(clips, 3, 1).name == "clip 3 of 3, crop 1 of 3"
    with pytest.raises(ValueError, match="clip is 0: of this video there are 1 to 3"):
        choose_view(clips, 0, None)
    with pytest.raises(ValueError, match="crop is 4: of this video there are 1 to 3"):
        choose_view(clips, None, 4)


def test_a_place_of_the_video_is_found_in_the_view(classifier, video):
    view = choose_view(read_video(classifier, video), 1, 2)
    first, *_, last = view.frame_numbers.tolist()
    frame, row, column = place_in(view, (last, 48.0, 64.0))
    assert (
        frame == 3 and row == pytest.approx(32) and column == pytest.approx((64 - 11 * 128 / 85) * 85 / 128)
    )
    assert place_in(view, (first + 0.4, 0.0, 20.0))[0] == 0
    with pytest.raises(
        ValueError,
        match=f"frame {last + 1} is not in clip 1 of 3, crop 2 of 3, which shows frames {first} to",
    ):
        place_in(view, (last + 1, 0.0, 64.0))
    with pytest.raises(ValueError, match="row 0, column 5 is not in .* columns 17 to 113 of the video"):
        place_in(view, (first, 0.0, 5.0))


def test_the_class_of_the_video_is_explained(classifier, video):
    found = explained(classifier, video)
    prediction = classifier.predict(video)
    assert torch.equal(found.prediction.logits, prediction.logits)
    assert found.class_name == prediction.top(1)[0][0]
    assert found.class_map.class_number == prediction.ranking[0] and found.class_map.block == "blocks2.0"
    assert found.probability == pytest.approx(
        float(found.class_map.logits.softmax(0)[prediction.ranking[0]]), abs=1e-6
    )
    assert [relation.block for relation in found.relations] == ["blocks2.0", "blocks3.1"]
    peak = found.class_map.grid.centre(found.class_map.peak)
    assert found.relations[0].token == found.relations[0].grid.token_at(peak)


def test_everything_may_be_chosen(classifier, video):
    found = explained(
        classifier, video, class_name="three", block="blocks3.0", clip=1, crop=3, token=(2, 90.0, 120.0),
        relation_blocks=["blocks1.0"], head=5,
    )  # fmt: skip
    assert found.class_name == "three" and found.class_map.class_number == 2
    assert found.class_map.block == "blocks3.0" and found.view.name == "clip 1 of 3, crop 3 of 3"
    (relation,) = found.relations
    assert relation.block == "blocks1.0" and relation.head == 5
    row, column = 90 * 64 / 96, 120 * 85 / 128 - 21
    assert relation.token == relation.grid.token_at((1.0, row, column))


def test_names_are_checked_before_the_video_is_read(classifier, tmp_path):
    nowhere = tmp_path / "none.mp4"
    with pytest.raises(ValueError, match="no block 'blocks7.1'"):
        explained(classifier, nowhere, block="blocks7.1")
    with pytest.raises(ValueError, match="no block 'stem'"):
        explained(classifier, nowhere, relation_blocks=["stem"])
    with pytest.raises(ValueError, match="'four' is none of the 3 classes of this model"):
        explained(classifier, nowhere, class_name="four")
    with pytest.raises(UnreadableVideo, match="none.mp4: no such file"):
        explained(classifier, nowhere)
    with pytest.raises(UnreadableVideo, match="^empty file$"):
        explained(classifier, b"")


def test_frames_made_smaller_first_keep_their_places(classifier, video):
    small = replace(classifier, views=replace(classifier.views, short_side=80))
    assert np.array(read_video(small, video).crops) == pytest.approx(
        np.array(read_video(classifier, video).crops)
    )
