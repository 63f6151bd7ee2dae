"""Windows of a long video, in one pass, score as videos of their own; what is kept meanwhile stays small."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

import slowfast
from slowfast.datasets.checking.sources import FolderSource
from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.synthetic import render_clip
from slowfast.datasets.video_writer import write_video
from slowfast.inference.prediction import Span
from slowfast.inference.streaming import WindowFrames
from slowfast.inference.windows import plan


@pytest.fixture(scope="module")
def classifier(trained_run):
    return slowfast.load(trained_run / "best.pyth", device="cpu")


@pytest.fixture(scope="module")
def frames():
    """Two motions, one after the other: uint8 (57, 40, 48, 3)."""
    rng = np.random.default_rng(3)
    return np.concatenate(
        [
            render_clip(label, rng, num_frames=count, height=40, width=48)
            for label, count in ((0, 30), (4, 27))
        ]
    )


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "two.mp4"
    write_video(path, frames, 10)
    return path


def as_a_video_of_its_own(classifier, path, span):
    """The logits of frames of a video that are scored as `predict` scores a whole one."""
    with open_video(path) as reader:
        frames = torch.from_numpy(reader.read(range(span.start_frame, span.end_frame)))
    clips = classifier.views.sampler(len(frames), 10.0, np.random.default_rng(0))
    views = classifier.views.make_views(frames[torch.from_numpy(clips)], ())
    return classifier.merge(classifier.score(views)).logits


@pytest.mark.parametrize(
    ("window", "stride", "count"), [(None, None, 9), ("2", "1", 5), ("5f", "9f", 7), ("57f", None, 1)]
)
def test_a_window_is_scored_like_a_video_of_its_own(classifier, video, window, stride, count):
    found = list(classifier.predict_windows(video, window=window, stride=stride))
    whole = [one for one in found if one.span.end_frame < 57 or count == 1]
    assert len(found) == count and len(whole) >= count - 1
    for one in whole:
        expected = as_a_video_of_its_own(classifier, video, one.span)
        assert torch.allclose(one.prediction.logits, expected, atol=1e-5)


def test_windows_lie_where_they_should_and_the_last_is_cut_short(classifier, video):
    spans = [one.span for one in classifier.predict_windows(video)]  # 4 frames, one every 3: 12 frames
    assert [(span.start_frame, span.end_frame) for span in spans[:2]] == [(0, 12), (6, 18)]
    assert spans[0].start_seconds == 0 and spans[1].end_seconds == pytest.approx(1.8)
    assert (spans[-1].start_frame, spans[-1].end_frame) == (48, 57)


def test_a_window_that_is_cut_short_holds_its_last_frame(classifier, video):
    *_, last = classifier.predict_windows(video)
    with open_video(video) as reader:
        clip = torch.from_numpy(reader.read([48, 51, 55, 56]))  # 0, 3, 7, 11 from 48, but there is no 59
    views = classifier.views.make_views(clip[None], ())
    assert torch.allclose(last.prediction.logits, classifier.score(views).mean(dim=0), atol=1e-5)


def test_a_short_video_is_one_window(classifier, frames, tmp_path):
    write_video(tmp_path / "a.mp4", frames[:5], 10)
    (only,) = classifier.predict_windows(tmp_path / "a.mp4")
    assert only.span == Span(0, 5, 0.0, pytest.approx(0.5))
    assert torch.allclose(only.prediction.logits, classifier.predict(tmp_path / "a.mp4").logits, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "stride"), [(None, None), ("16f", "1f"), ("8f", "8f"), ("4f", "11f"), ("40f", "3f")]
)
def test_only_frames_that_coming_windows_take_are_kept(classifier, video, window, stride):
    windows = plan(classifier.views.sampler, 10.0, window, stride)
    buffer = WindowFrames(classifier.views, windows, 10.0)
    most = 0
    with classifier.views.stream(video) as stream:
        for frame in stream:
            buffer.add(frame)
            now = frame.number
            begun = range(max(0, now + 1 - windows.length) // windows.stride, now // windows.stride + 1)
            needed = {
                windows.start(window) + offset
                for window in begun
                for offset in windows.clips.ravel().tolist()
                if windows.start(window) + windows.length - 1 > now
            }
            assert set(buffer.kept) <= {number for number in needed if number <= now}
            most = max(most, len(buffer.kept))
            assert len(buffer._begins) <= windows.length // windows.stride + 2
    assert 0 < most <= windows.length
    side = classifier.facts["crop_size"]
    assert all(views.clips.shape[1:] == (1, side, side, 3) for views in buffer.kept.values())


def test_folders_of_frames_have_windows_in_frames(classifier, frames, tmp_path):
    for number, picture in enumerate(frames[:30], start=1):
        Image.fromarray(picture).save(tmp_path / f"{number:03d}.png")
    folder = FolderSource(str(tmp_path), 30, "{:03d}.png")
    found = classifier.timeline(folder)
    assert [span.start_frame for span in found.spans] == [0, 6, 12, 18]
    assert found.segments[-1].span.end_frame == 30 and found.segments[0].span.start_seconds is None
    with pytest.raises(UnreadableVideo, match="no frame rate, which --window in seconds needs"):
        classifier.timeline(folder, window=2)


def test_a_timeline_of_the_whole_video(classifier, video):
    found = classifier.timeline(video, stride="3f")
    windows = list(classifier.predict_windows(video, stride="3f"))
    assert found.spans == tuple(window.span for window in windows) and found.damage == ""
    assert np.allclose(found.probabilities, np.stack([one.prediction.probabilities for one in windows]))
    assert found.segments[0].span.start_frame == 0 and found.segments[-1].span.end_frame == 57
    assert found.class_names == classifier.class_names


def test_mistakes_are_told_before_anything_is_decoded(classifier, video, tmp_path):
    with pytest.raises(ValueError, match="--smooth is 2"):
        classifier.timeline(tmp_path / "none.mp4", smoothing=2)
    with pytest.raises(ValueError, match="--stride is 'fast'"):
        classifier.timeline(video, stride="fast")
    with pytest.raises(UnreadableVideo, match="no such file"):
        list(classifier.predict_windows(tmp_path / "none.mp4"))


def test_leaving_early_ends_the_decoding(classifier, video):
    found = classifier.predict_windows(video)
    next(found)
    found.close()
    assert not [thread.name for thread in threading.enumerate() if "read-ahead" in thread.name]


def test_a_video_that_ends_too_early_says_so(classifier, video, monkeypatch):
    from slowfast.datasets import frame_stream

    def decoded(self, real=frame_stream.FrameStream._decoded):
        for number, frame in enumerate(real(self)):
            if number == 20:
                raise OSError("bad sector")
            yield frame

    monkeypatch.setattr(frame_stream.FrameStream, "_decoded", decoded)
    found = classifier.timeline(video)
    assert found.damage == "unreadable after 20 frames (bad sector)" and found.spans[-1].end_frame == 20
