"""A camera or stream, scored as it comes: the model gets the newest frames, and what it cannot keep up with is dropped.

A thread of its own reads the source as fast as it delivers, so that nothing queues up in front of it. Of the frames
only as many as one window has are kept; whenever the model is free it scores the newest window. So a result is never
older than one run of the model and its window, however slow the model is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from slowfast.datasets.frame_stream import StreamedFrame
from slowfast.datasets.pipeline import Views
from slowfast.datasets.video_views import VideoViews, joined
from slowfast.inference.prediction import Prediction, Span
from slowfast.inference.windows import Windows

GOODBYE_SECONDS = (
    1.0  # for the thread to close the source; one that sends nothing is left to end with the process
)


@dataclass(frozen=True)
class LivePrediction:
    """The newest window when the model was free, and its classes.

    latency_seconds: from the arrival of its last frame to the result. dropped_frames: that came since the start and
    were in no window because the model was busy.
    """

    span: Span
    prediction: Prediction
    latency_seconds: float
    dropped_frames: int


@dataclass(frozen=True)
class Arrived:
    """A frame as the model is shown it, and when it came, by the clock."""

    number: int
    time_seconds: float | None
    views: Views
    arrival: float


class NewestFrames:
    """Between a thread that puts frames in and one that takes windows out: the newest ``length`` frames, no more.

    A window is handed out once ``length`` frames have come and then after ``stride`` new ones or more: all that are
    kept. dropped: frames so far that came and went unseen, besides those that a stride above the length leaves out.
    """

    def __init__(self, length: int, stride: int) -> None:
        self._frames: deque[Arrived] = deque(maxlen=length)
        self._stride = stride
        self._taken_to = -1  # number of the last frame of the last window
        self._awaited = 0  # number of the first frame of the next window, if the model keeps up
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, frame: Arrived) -> None:
        """The next frame; never waits."""
        with self._changed:
            full = len(self._frames) == self._frames.maxlen
            if full and self._frames[0].number >= self._awaited:
                self.dropped += 1
            self._frames.append(frame)
            self._changed.notify()

    def end(self, error: BaseException | None = None) -> None:
        """No more frames come, because of the error or because the source has ended."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def take(self) -> list[Arrived] | None:
        """The newest window, as soon as there is one to score; None at the end. Raises the error that ended it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._is_due())
            if self._ended and not self._is_due() and not self._is_only():
                if self._error is not None:
                    raise self._error
                return None
            self._taken_to = self._frames[-1].number
            self._awaited = self._taken_to + 1 + max(0, self._stride - self._frames.maxlen)
            return list(self._frames)

    def _is_due(self) -> bool:
        frames = self._frames
        if len(frames) < frames.maxlen:
            return False
        return self._taken_to < 0 or frames[-1].number - self._taken_to >= self._stride

    def _is_only(self) -> bool:
        """Whether the source has ended before there was a whole window."""
        return bool(self._frames) and self._taken_to < 0


def watch(
    frames: Generator[StreamedFrame],
    views: VideoViews,
    windows: Windows,
    score: Callable[[Views], Prediction],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[LivePrediction]:
    """The newest window over and over, until the source ends. ``frames`` are read, and closed, in their own thread.

    Raises UnreadableVideo if nothing can be read. When this is closed the thread ends with the next frame that comes.
    """
    newest = NewestFrames(windows.length, windows.stride)
    stopped = threading.Event()

    def read() -> None:
        try:
            with closing(frames):
                for frame in frames:
                    if stopped.is_set():
                        break
                    arrival, shown = clock(), views.of_frame(frame.picture())
                    newest.put(Arrived(frame.number, frame.time_seconds, shown, arrival))
        except BaseException as error:
            newest.end(error)
        else:
            newest.end()

    thread = threading.Thread(target=read, name="live source", daemon=True)
    thread.start()
    try:
        while (window := newest.take()) is not None:
            prediction = score(_views_of(window, windows))
            latency = clock() - window[-1].arrival
            yield LivePrediction(_span(window), prediction, latency, newest.dropped)
    finally:
        stopped.set()
        thread.join(GOODBYE_SECONDS)


def paced(
    frames: Iterable[StreamedFrame],
    fps: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[StreamedFrame]:
    """The frames of a file, each when it is due, as if a camera sent them; by their times, or by ``fps`` without."""
    begin = None
    for frame in frames:
        due = frame.number / fps if frame.time_seconds is None else frame.time_seconds
        begin = clock() - due if begin is None else begin
        wait = begin + due - clock()
        if wait > 0:
            sleep(wait)
        yield frame


def _views_of(window: list[Arrived], windows: Windows) -> Views:
    """A window of fewer frames, from a source that has ended, holds its last one."""
    clips = windows.clips.clip(max=len(window) - 1)
    return joined({place: frame.views for place, frame in enumerate(window)}, clips, windows.which)


def _span(window: list[Arrived]) -> Span:
    first, last = window[0], window[-1]
    return Span(first.number, last.number + 1, first.time_seconds, last.time_seconds)
