"""A source that sends frames by its own schedule, and a model that is too slow for it: nothing lags, frames drop.

Time is a number that the source moves on, so that no test waits.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_stream import StreamedFrame
from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.pipeline import EvalViews
from slowfast.datasets.video_views import VideoViews
from slowfast.inference import live
from slowfast.inference.live import Arrived, NewestFrames, paced, watch
from slowfast.inference.prediction import Prediction
from slowfast.inference.windows import plan

FPS = 10
VIEWS = VideoViews(ClipSampler(num_frames=4, sampling_rate=2, num_clips=1), EvalViews(8, 8, 1))
WINDOWS = plan(VIEWS.sampler, FPS, None, None)  # 8 frames, one window every 4


@dataclass
class Camera:
    """Sends frame n at second n / FPS, as soon as the test has let it; its picture's grey level is n."""

    total: int
    now: float = 0.0
    sent: int = 0
    closed: bool = False
    allowed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    read: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def frames(self):
        try:
            for number in range(self.total):
                self.allowed.acquire()
                self.now = number / FPS
                yield StreamedFrame(
                    number, number / FPS, lambda number=number: np.full((8, 8, 3), number, np.uint8)
                )
                self.read.release()  # it has been put away, since the next one is asked for
        finally:
            self.closed = True

    def send(self, count: int) -> None:
        """Let so many more come, as far as there are any."""
        count = min(count, self.total - self.sent)
        self.sent += count
        for _ in range(count):
            self.allowed.release()

    def wait(self, waiting: int) -> None:
        """Until so many more have arrived."""
        for _ in range(waiting):
            self.read.acquire()


def watched(camera, frames_while_scoring):
    """Windows scored by a model that takes as long as the camera needs for so many frames; what it was shown."""
    shown, arrived = [], 0

    def score(views):
        nonlocal arrived
        shown.append(views.clips[0, :, 0, 0, 0].tolist())
        camera.send(frames_while_scoring)
        camera.wait(camera.sent - arrived)
        arrived = camera.sent
        return Prediction(("a",), torch.zeros(1), torch.ones(1), (0,), 1)

    camera.send(8)
    return list(watch(camera.frames(), VIEWS, WINDOWS, score, clock=lambda: camera.now)), shown


def test_a_slow_model_gets_the_newest_frames_and_the_rest_are_dropped():
    camera = Camera(total=8 + 5 * 40)
    found, shown = watched(camera, frames_while_scoring=40)
    ends = [8, 48, 88, 128, 168, 208]
    assert [one.span.end_frame for one in found] == ends
    assert [clip[-1] for clip in shown] == [end - 1 for end in ends]  # the very newest
    assert shown[1] == [40, 42, 44, 47]  # linspace from 0 to 7, from frame 40 on
    assert [one.dropped_frames for one in found[:-1]] == [32 * number for number in range(1, 6)]
    assert [one.latency_seconds for one in found[:-1]] == pytest.approx(
        [4.0] * 5
    )  # as long as the model takes
    assert found[-1].dropped_frames == 160 and camera.closed


def test_a_model_that_keeps_up_misses_nothing():
    found, shown = watched(Camera(total=40), frames_while_scoring=4)
    assert [one.span.start_frame for one in found] == list(range(0, 33, 4))
    assert all(one.dropped_frames == 0 for one in found)
    assert max(one.latency_seconds for one in found) == pytest.approx(0.4)


def test_what_waits_for_the_model_never_grows():
    newest = NewestFrames(length=8, stride=4)
    for number in range(10_000):
        newest.put(Arrived(number, None, None, 0.0))
        assert len(newest._frames) <= 8
    assert [frame.number for frame in newest.take()] == list(range(9992, 10_000)) and newest.dropped == 9992


def test_frames_that_a_long_stride_leaves_out_are_not_dropped():
    newest = NewestFrames(length=4, stride=10)
    for number in range(14):  # windows of frames 0 to 3 and 10 to 13
        newest.put(Arrived(number, None, None, 0.0))
        if number in (3, 13):
            assert [frame.number for frame in newest.take()] == list(range(number - 3, number + 1))
    assert newest.dropped == 0
    for number in range(14, 30):  # that of 20 to 23 is not taken in time
        newest.put(Arrived(number, None, None, 0.0))
    assert newest.take()[0].number == 26 and newest.dropped == 6


def test_a_source_that_ends_before_a_window_is_full_is_scored_once():
    camera = Camera(total=3)
    camera.send(3)
    shown = []

    def score(views):
        shown.append(views.clips[0, :, 0, 0, 0].tolist())
        return Prediction(("a",), torch.zeros(1), torch.ones(1), (0,), 1)

    (only,) = watch(camera.frames(), VIEWS, WINDOWS, score, clock=lambda: camera.now)
    assert (only.span.start_frame, only.span.end_frame) == (0, 3) and shown == [[0, 2, 2, 2]]


def test_a_source_that_fails_says_so():
    def frames():
        raise UnreadableVideo("no camera")
        yield

    with pytest.raises(UnreadableVideo, match="no camera"):
        list(watch(frames(), VIEWS, WINDOWS, None))


def test_leaving_closes_the_source(monkeypatch):
    monkeypatch.setattr(live, "GOODBYE_SECONDS", 60)
    camera = Camera(total=10**6)
    camera.send(1000)
    found = watch(camera.frames(), VIEWS, WINDOWS, lambda views: None, clock=lambda: camera.now)
    next(found)
    camera.send(1000)
    found.close()
    assert camera.closed and "live source" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("times", [True, False])
def test_a_file_comes_at_its_own_pace(times):
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    frames = (StreamedFrame(number, number / FPS if times else None, None) for number in range(5))
    came = []
    for frame in paced(frames, FPS, clock=lambda: now[0], sleep=sleep):
        came.append(now[0])
        if frame.number == 1:
            now[0] += 0.25  # the reader was busy: the next ones are due already
    assert came == pytest.approx([100.0, 100.1, 100.35, 100.35, 100.4])
    assert slept == pytest.approx([0.1, 0.05])
